/** What the backend needs of libvirt, in its own words: the one place where it meets the libvirt client. */
import type { Duplex } from "node:stream";

import type { ErrorCode } from "../../errors/index.ts";
import type { Account } from "./storage/file-access.ts";
import type { Accelerator } from "./domain/domain-xml.ts";

export interface HostCapabilities {
  /** What libvirt can run for each architecture. Being able to is not the same as KVM working. */
  accelerators: Readonly<Record<string, readonly Accelerator[]>>;
  memoryBytes: number;
  /** Who QEMU runs as, where that is somebody else than this process. */
  qemuAccount: Account | undefined;
  /** What confines QEMU to the files that libvirt knows: `apparmor`, `selinux`. */
  confinement: string | undefined;
  /** QEMU's program for each architecture. */
  emulators: Readonly<Record<string, string>>;
  /** libvirt's own version. */
  libvirtVersion: string;
}

/** The storage pool. Volumes are known by their names. */
export interface Storage {
  /** The pool's folder on the host. */
  readonly folder: string;
  path(volume: string): string;
  list(signal: AbortSignal): Promise<string[]>;
  has(volume: string, signal: AbortSignal): Promise<boolean>;
  /** An empty qcow2 disk on top of another file. */
  createOverlay(volume: string, backing: Backing, capacityBytes: number, signal: AbortSignal): Promise<void>;
  /** A file with this content. Fails when the volume exists. */
  createFile(
    volume: string,
    sizeBytes: number,
    content: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void>;
  /** The whole content, or its newest `maxBytes`; `undefined` when there is no such volume. */
  read(volume: string, maxBytes: number, signal: AbortSignal): Promise<Buffer | undefined>;
  /** The path that a disk stands on, if any. */
  backingOf(volume: string, signal: AbortSignal): Promise<string | undefined>;
  /** A second volume with the same content. Only for small ones, and only where the host is this one. */
  copy(volume: string, to: string, signal: AbortSignal): Promise<void>;
  /** Idempotent. */
  remove(volume: string, signal: AbortSignal): Promise<void>;
}

export interface Backing {
  path: string;
  format: "qcow2" | "raw";
}

export type DomainState = "running" | "paused" | "off" | "failed";

export interface DomainStatus {
  state: DomainState;
  /** Why it failed. */
  reason?: string | undefined;
  /** The cause, where it is one of the host's: `disk_full`. */
  code?: ErrorCode | undefined;
}

export interface DomainActivity {
  /** What the machine's process has used, with all its threads. */
  cpuSeconds: number;
  /** Reads and writes of all disks. */
  diskRequests: number;
}

/** Domains are known by their names. */
export interface Domains {
  define(xml: string, signal: AbortSignal): Promise<void>;
  start(domain: string, signal: AbortSignal): Promise<void>;
  /** Starts a defined domain as this XML says, for this once, with its CPUs waiting for `resume`. */
  startPaused(xml: string, signal: AbortSignal): Promise<void>;
  /** Ends it as if the power went. Idempotent. */
  powerOff(domain: string, signal: AbortSignal): Promise<void>;
  /**
   * The same for one that is to be removed next: its QEMU has ended, but libvirt may notice only a moment later. Whoever asks
   * for the domain until then waits. Idempotent.
   */
  kill(domain: string, signal: AbortSignal): Promise<void>;
  /** Ends and forgets it; after `kill`, libvirt forgets it a moment later, and nobody is told of it any more. Idempotent. */
  remove(domain: string, signal: AbortSignal): Promise<void>;
  /** What other tools show of a domain that runs. */
  setTitle(domain: string, title: string, signal: AbortSignal): Promise<void>;
  suspend(domain: string, signal: AbortSignal): Promise<void>;
  /** As its reset button: the guest boots again, in the same QEMU. */
  reset(domain: string, signal: AbortSignal): Promise<void>;
  resume(domain: string, signal: AbortSignal): Promise<void>;
  /** A command for QEMU's monitor (QMP) and what it returns. */
  monitor(
    domain: string,
    command: string,
    args: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<unknown>;
  /** What a running domain has done so far. */
  activity(domain: string, signal: AbortSignal): Promise<DomainActivity>;
  /** `undefined` for a domain that does not exist. */
  status(domain: string, signal: AbortSignal): Promise<DomainStatus | undefined>;
  xml(domain: string, signal: AbortSignal): Promise<string | undefined>;
  /** The names of all of them, also of those that are off. */
  list(signal: AbortSignal): Promise<string[]>;
  openChannel(domain: string, channel: string, signal: AbortSignal): Promise<Duplex>;
  /** Tells the names of domains that have changed state, or rebooted. Returns the function that ends it. */
  onChange(listener: (domain: string, how?: "rebooted") => void): () => void;
}

export interface LibvirtHost {
  readonly uri: string;
  /** Whether libvirt runs on this machine, so that paths mean the same to both. */
  readonly isLocal: boolean;
  readonly domains: Domains;
  /** Where libvirt writes the process id of a domain's QEMU while it runs; `undefined` on another host. */
  pidFile(domain: string): string | undefined;
  capabilities(signal: AbortSignal): Promise<HostCapabilities>;
  /** The pool, made and started when needed. */
  storage(signal: AbortSignal): Promise<Storage>;
  /** What the user should know of the connection: a daemon that was started for him. */
  warnings(): readonly string[];
  close(): Promise<void>;
}
