/** What some backends can do beside what all can. */
import type { WorkContext } from "../core/step.ts";
import type { Image } from "../images/image.ts";
import type { Backend, MachineMount, MachineSpec } from "./backend.ts";
import type { SandboxType } from "../config/machine-kinds.ts";

/** A backend that can hold a machine still and let it go on. */
export interface Pausable {
  pause(id: string, signal: AbortSignal): Promise<void>;
  resume(id: string, signal: AbortSignal): Promise<void>;
}

/** Whether this backend can pause machines. */
export function isPausable(backend: Backend): backend is Backend & Pausable {
  return "pause" in backend && "resume" in backend;
}

/** A backend whose machines have a reset button: the guest boots again, on the disk as it is. */
export interface Resettable {
  reset(id: string, signal: AbortSignal): Promise<void>;
}

/** Whether this backend's machines have a reset button. */
export function isResettable(backend: Backend): backend is Backend & Resettable {
  return "reset" in backend;
}

/** A machine that nobody else may know of, with the folders of this host that it sees. */
export interface MountedMachine {
  id: string;
  name: string;
  /** Another state folder's. */
  isForeign: boolean;
  /** `prune` removes it when no record tells of it. */
  isPrunable: boolean;
  /** A command of the user's that ends it past heyvm. */
  lastResort: string;
  mounts: readonly Pick<MachineMount, "hostPath" | "readOnly">[];
}

/** A backend that keeps with each machine which folders it sees, also for those whose record is not at hand. */
export interface MountTeller {
  /** Returns the machines that are not off, other state folders' included, but for those that are `known`. */
  mountedMachines(known: Pick<ReadonlySet<string>, "has">, signal: AbortSignal): Promise<MountedMachine[]>;
}

/** Whether this backend knows the mounts of its machines by itself. */
export function isMountTeller(backend: Backend): backend is Backend & MountTeller {
  return "mountedMachines" in backend;
}

/** What a machine takes of its host's memory, in bytes. */
export interface HostMemory {
  /** What would be free if it ended. */
  privateBytes: number;
  /** With its share of what it has in common with others (PSS). */
  proportionalBytes: number;
}

/** A backend whose machines are processes of this host, and may be looked at. */
export interface MemoryTeller {
  /** `undefined` where it cannot be known: for a machine that is off, on another host, or somebody else's process. */
  hostMemory(id: string, signal: AbortSignal): Promise<HostMemory | undefined>;
}

/** Whether this backend knows what a machine takes of this host's memory. */
export function isMemoryTeller(backend: Backend): backend is Backend & MemoryTeller {
  return "hostMemory" in backend;
}

/** A machine that was booted once and frozen, of which sandboxes are clones. */
export interface TemplateInfo {
  /** 16 hex digits; changes with all that goes into a template. */
  key: string;
  /** The image's name. */
  reference: string;
  type: SandboxType;
  cpus: number;
  memoryBytes: number;
  /** How large sandboxes can be that are cloned from it; absent: just as large as it is. */
  growsTo?: { cpus: number; memoryBytes: number } | undefined;
  /** ISO 8601. */
  createdAt: string;
  /** Milliseconds since the epoch. */
  lastUsedMs: number;
  /** What it takes of the disk. */
  diskBytes: number;
  /** A sandbox stands on it, or a machine that waits to become one. */
  inUse: boolean;
}

/** What decides which template a machine is a clone of. */
export type TemplateRequest = Pick<MachineSpec, "type" | "cpus" | "memoryBytes"> & { image: Image };

/** A backend whose machines can be clones. */
export interface TemplateKeeper {
  listTemplates(signal: AbortSignal): Promise<TemplateInfo[]>;
  /** The template for such machines, made now when there is none. Throws `unsupported` where machines cannot be cloned. */
  buildTemplate(request: TemplateRequest, context: WorkContext): Promise<TemplateInfo>;
  /** Idempotent: an absent one is `absent`. One that a sandbox stands on stays. */
  removeTemplate(key: string, signal: AbortSignal): Promise<"removed" | "absent" | "in_use">;
}

/** Whether this backend's machines can be clones. */
export function isTemplateKeeper(backend: Backend): backend is Backend & TemplateKeeper {
  return "buildTemplate" in backend;
}

/** What is known of a sandbox before its image is looked up. */
export interface ForthcomingMachine extends Pick<MachineSpec, "type" | "cpus" | "memoryBytes" | "network"> {
  imageReference?: string | undefined;
  mounts: readonly unknown[];
}

/** A backend that may have launched a machine before anybody asked for it. */
export interface Forehanded {
  /**
   * The id that a sandbox should take to get such a machine; `undefined`: none waits. It is a hint: `create` looks
   * whether the machine fits, and makes another when it does not.
   */
  reserveId(forthcoming: ForthcomingMachine): string | undefined;
}

/** Whether this backend launches machines ahead. */
export function isForehanded(backend: Backend): backend is Backend & Forehanded {
  return "reserveId" in backend;
}

/** A backend whose machines show their sandbox's name to people who look with other tools. */
export interface Renamable {
  /** After a machine was made for nobody in particular. It runs, and goes on. */
  rename(spec: MachineSpec, signal: AbortSignal): Promise<void>;
}

/** Whether this backend can rename machines. */
export function isRenamable(backend: Backend): backend is Backend & Renamable {
  return "rename" in backend;
}
