/**
 * The contract of a backend, and nothing else.
 *
 * A backend makes a machine and hands over one duplex byte stream to the guest agent in it. It knows nothing of
 * commands, files, ports or terminals: those ride on the stream and are written once, above it.
 *
 * Every method takes an `AbortSignal` and throws a `HeyvmError`. Machines are known by their sandbox's id; what a
 * backend needs to find a machine again after the daemon died, it keeps with the machine (libvirt: domain metadata).
 */
import type { Duplex } from "node:stream";

import type { backendNames } from "../config/backend-names.ts";
import type { SandboxType } from "../config/machine-kinds.ts";
import type { WorkContext } from "../core/step.ts";
import type { ErrorCode } from "../errors/index.ts";
import type { Image } from "../images/image.ts";

export type BackendName = (typeof backendNames)[number];

/** A host folder that the guest sees at `guestPath`. */
export interface MachineMount {
  /** Absolute, resolved, existing and permitted: the caller has checked it. */
  hostPath: string;
  guestPath: string;
  readOnly: boolean;
}

export interface MachineSpec {
  /** The sandbox's id: `sb-` and 8 hex digits. */
  id: string;
  /** For people who look at the machine with other tools. */
  name: string;
  type: SandboxType;
  /** Absent where a backend needs none (bubblewrap uses the host's own files). */
  image: Image | undefined;
  cpus: number;
  memoryBytes: number;
  /** Size of the guest's disk; absent: the image's own size. */
  diskBytes: number | undefined;
  mounts: readonly MachineMount[];
  network: boolean;
}

/**
 * `absent`: the backend has nothing for this id. `failed`: it is broken (crashed, disk gone), not merely off. `paused` with a
 * `code`: the host holds it, and it can go on when that cause is gone.
 */
export type MachineState = "running" | "paused" | "stopped" | "failed" | "absent";

export interface MachineStatus {
  id: string;
  state: MachineState;
  /** Why a machine failed, or is held, in words. */
  reason?: string | undefined;
  /** The cause, where it is one of the host's: `disk_full`. */
  code?: ErrorCode | undefined;
  /** Told to who watches: the guest was just reset, and begins anew in the same machine. */
  rebooted?: boolean | undefined;
}

/** Something that the host side of the agent has to mount in the guest, because the hypervisor only offers a device. */
export interface GuestMount {
  /** virtio-9p mount tag: `mount0`, `mount1`, … */
  tag: string;
  guestPath: string;
  readOnly: boolean;
}

/** How a machine came up: as a clone of one that was booted before, or by booting, and why, where that is worth knowing. */
export interface MachineStart {
  how: "cloned" | "booted";
  reason?: string | undefined;
}

/** What a started machine needs from the layer above before anyone may use it. */
export interface StartedMachine {
  guestMounts: readonly GuestMount[];
  /** What the user should know: software emulation, a network that reaches the host's loopback, … */
  warnings: readonly string[];
  start: MachineStart;
  /** Only a clone has one. */
  clone?: CloneReport | undefined;
}

/** What became of a clone's guest, so that what does not work is not tried with each sandbox. Neither fails. */
export interface CloneReport {
  works(): Promise<void>;
  /** To be told when a machine that boots in its place has started: the host is not the cause then. */
  fails(reason: string): Promise<void>;
}

export interface MakingContext extends WorkContext {
  /** A last look at the host's folders, which may have changed since the create began. Throws where the machine must not be made. */
  lastLook?: (() => Promise<void>) | undefined;
  /** Why the machine is to boot, also where it could be a clone. A backend that clones none need not look. */
  boot?: string | undefined;
}

/** One thing that `heyvm doctor` looked at. */
export interface DoctorCheck {
  /** Stable and unique: `libvirt.kvm`, `libvirt.connection`. */
  id: string;
  title: string;
  verdict: "ok" | "warning" | "failure";
  /** What was seen. */
  message: string;
  /** The one command that mends it, per package manager family; `any` where they don't differ. */
  remedy?: Partial<Record<"debian" | "fedora" | "arch" | "any", string>> | undefined;
  /** Whether `doctor --fix` may run the remedy after asking. */
  fixable: boolean;
}

export interface BackendAvailability {
  available: boolean;
  /** Why not, or what is worth knowing (`software emulation: KVM does not work here`). */
  reason?: string | undefined;
  hint?: string | undefined;
  /** The error's, when not: `invalid_argument` is the caller's mistake (a URI), and no trouble of this host's. */
  code?: ErrorCode | undefined;
}

/** What is known of a backend before it is opened. */
export interface BackendDescription {
  readonly name: BackendName;
  /** One line for `heyvm backends`. */
  readonly description: string;
  /** Whether machines are made from cloud images (and a create must resolve one). */
  readonly usesImages: boolean;
  /** Whether its machines may be somewhere else than here: at a connection URI. */
  readonly takesUri: boolean;
}

export interface Backend extends BackendDescription {
  /** Cheap, and remembered: can a machine be made here at all? */
  availability(signal: AbortSignal): Promise<BackendAvailability>;
  /** Everything the backend's documentation asks of the host; slow checks are allowed. */
  diagnose(signal: AbortSignal): Promise<DoctorCheck[]>;

  /**
   * Makes the machine and starts it. On any failure or abort nothing of it is left: no machine, file, process or
   * socket. Preparations that are shared between machines (prepared disks) may stay, complete or not at all; they may take
   * minutes, and after them, before anything of the machine is there, `lastLook` is awaited.
   */
  create(spec: MachineSpec, context: MakingContext): Promise<StartedMachine>;
  /** Refuses what a start would refuse, as far as that can be known while the machine runs: asked before a restart. */
  checkStart(spec: MachineSpec, signal: AbortSignal): Promise<void>;
  /** Starts a stopped machine again, from its own disk. */
  start(spec: MachineSpec, context: WorkContext): Promise<StartedMachine>;
  /** Ends it without asking the guest; the disk stays. Idempotent. (A polite stop is the agent's business.) */
  stop(id: string, signal: AbortSignal): Promise<void>;
  /** Removes the machine and all that belongs to it. Idempotent: an absent machine is a success. */
  destroy(id: string, signal: AbortSignal): Promise<void>;

  status(id: string, signal: AbortSignal): Promise<MachineStatus>;
  /** All machines of this backend that heyvm made for this user, in whatever state, also ones no record knows. */
  list(signal: AbortSignal): Promise<MachineStatus[]>;
  /** Opens the byte stream to the agent. One at a time; the newest wins. */
  openChannel(id: string, signal: AbortSignal): Promise<Duplex>;
  /** What the machine printed on its console so far, newest `maxBytes` at the most; empty where there is none. */
  readConsole(id: string, maxBytes: number, signal: AbortSignal): Promise<Buffer>;
  /** Tells of machines that changed state, or rebooted, by themselves. Returns the function that ends it. */
  watch(listener: (status: MachineStatus) => void): () => void;

  /** Images (by fingerprint) that shared preparations or machines stand on. */
  imagesInUse(signal: AbortSignal): Promise<Set<string>>;
  /**
   * Removes what no machine needs: prepared disks unused, leftovers of a crash. Returns what it removed; `onWarning` hears
   * of what nobody here needs and may be somebody else's.
   */
  prune(signal: AbortSignal, options: PruneOptions): Promise<string[]>;
  /** Lets go of connections; machines go on. */
  close(): Promise<void>;
}

export interface PruneOptions {
  /** The sandboxes that exist: asked before each removal, as some are created meanwhile; what is theirs stays. */
  keepIds: Pick<ReadonlySet<string>, "has">;
  /** Also what is only a cache. */
  everything: boolean;
  onWarning: (message: string) => void;
}
