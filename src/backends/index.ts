/** All backends of this version. A new one is a folder and a line here. */
import type { Backend } from "./backend.ts";
import { createLibvirtBackend } from "./libvirt/index.ts";
import { createUnsupportedBackend } from "./unsupported-backend.ts";

export interface BackendsOptions {
  /** Where libvirt is: `qemu:///session`, … */
  libvirtUri: string;
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

/** Makes them without connecting to anything yet. Those that cannot run say so in `availability()`. */
export async function createBackends({
  libvirtUri,
  stateFolder,
  imageFolders,
  bootTimeoutMs,
  templateBudgetBytes,
  shellsPerTemplate,
  translationCacheBytes,
  usualShape,
}: BackendsOptions): Promise<readonly Backend[]> {
  return [
    await createLibvirtBackend({
      uri: libvirtUri,
      stateFolder,
      imageFolders,
      agentTimeoutMs: bootTimeoutMs,
      templateBudgetBytes,
      shellsPerTemplate,
      translationCacheBytes,
      usualShape,
    }),
    createUnsupportedBackend("bubblewrap", "namespaces of this host's kernel, without a machine", false),
    createUnsupportedBackend("microsandbox", "small virtual machines by the microsandbox SDK", true),
  ];
}
