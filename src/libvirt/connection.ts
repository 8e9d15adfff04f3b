/** What `connectLibvirt` gives. */
import type { DomainCalls } from "./calls/domain.ts";
import type { DomainDeviceCalls } from "./calls/domain-devices.ts";
import type { DomainMetadataCalls, DomainStatisticsCalls } from "./calls/domain-metadata.ts";
import type { DomainSaveCalls } from "./calls/domain-saves.ts";
import type { HostCalls } from "./calls/host.ts";
import type { QemuCalls } from "./calls/qemu.ts";
import type { StoragePoolCalls } from "./calls/storage-pool.ts";
import type { VolumeCalls } from "./calls/storage-volume.ts";
import type { LibvirtClientError } from "./errors.ts";
import type { EventCalls } from "./events.ts";

/**
 * An open connection to a libvirt daemon. Calls may be made at the same time; each takes a signal and has a deadline.
 * When the connection is lost, every call and stream under way fails with one `LibvirtConnectionLostError`, and so does
 * every later call: connect again.
 */
export interface LibvirtConnection extends AsyncDisposable {
  /** As it was given. */
  readonly uri: string;
  /** Whether the daemon is on this machine, so that a path means the same to both. */
  readonly isLocal: boolean;
  /** The session daemon that was started for this connection, if one was. */
  readonly startedDaemon: StartedDaemon | undefined;
  /** Resolves when the connection has ended: with the reason, or `undefined` after `close()`. Never rejects. */
  readonly closed: Promise<LibvirtClientError | undefined>;
  readonly host: HostCalls;
  readonly domains: DomainCalls;
  readonly metadata: DomainMetadataCalls;
  readonly statistics: DomainStatisticsCalls;
  readonly devices: DomainDeviceCalls;
  readonly saves: DomainSaveCalls;
  readonly qemu: QemuCalls;
  readonly pools: StoragePoolCalls;
  readonly volumes: VolumeCalls;
  readonly events: EventCalls;
  /** Says goodbye to the daemon and ends; calls under way fail. Idempotent, never rejects. */
  close(): Promise<void>;
}

/** A daemon that this client has started, with what it needs beside it. */
export interface StartedDaemon {
  /** The program, for example `/usr/sbin/libvirtd`. */
  program: string;
  /** The process above the daemon; it ends with it. */
  pid: number;
  socketPath: string;
}
