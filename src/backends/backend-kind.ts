/** A backend as this version has it, before it is opened. */
import type { Backend, BackendDescription } from "./backend.ts";

/** What the settings say that backends need. */
export interface BackendSettings {
  /** heyvm's state folder. */
  stateFolder: string;
  /** Where images are looked for, in their order; the last receives downloads. */
  imageFolders: readonly string[];
  /** How long a guest may take until its agent answers. */
  bootTimeoutMs: number;
  /** How much of the disk templates may take; 0: no machine is cloned. */
  templateBudgetBytes: number;
  /** How many machines are launched ahead for each template in use. */
  shellsPerTemplate: number;
  /** QEMU's cache of translated code under emulation, per machine; `undefined`: by the machine's memory. */
  translationCacheBytes: number | undefined;
  /** The size that a sandbox gets unless told. */
  usualShape: { cpus: number; memoryBytes: number };
}

export interface BackendKind extends BackendDescription {
  /** Connects to nothing yet. One that cannot run says so in `availability()`. `uri` is for those that take one. */
  open(settings: BackendSettings, uri: string): Promise<Backend>;
}
