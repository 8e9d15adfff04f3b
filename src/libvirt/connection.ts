/** What `connectLibvirt` gives. */
import { domainCalls, type DomainCalls } from "./calls/domain.ts";
import { domainDeviceCalls, type DomainDeviceCalls } from "./calls/domain-devices.ts";
import { domainMetadataCalls, type DomainMetadataCalls } from "./calls/domain-metadata.ts";
import { domainSaveCalls, type DomainSaveCalls } from "./calls/domain-saves.ts";
import { domainStatisticsCalls, type DomainStatisticsCalls } from "./calls/domain-statistics.ts";
import { hostCalls, type HostCalls } from "./calls/host.ts";
import { qemuCalls, type QemuCalls } from "./calls/qemu.ts";
import { storagePoolCalls, type StoragePoolCalls } from "./calls/storage-pool.ts";
import { volumeCalls, type VolumeCalls } from "./calls/storage-volume.ts";
import { createDeferred } from "./deferred.ts";
import { LibvirtConnectionLostError, type LibvirtClientError } from "./errors.ts";
import { eventCalls, type EventCalls } from "./events.ts";
import { nothing, type Rpc } from "./rpc.ts";
import { createStreamOpener } from "./stream-opener.ts";
import type { ConnectionUri } from "./uri.ts";

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

export interface ConnectionParts {
  uri: ConnectionUri;
  rpc: Rpc;
  startedDaemon: StartedDaemon | undefined;
  /** Opens another connection like this one, for a stream. */
  dialStream(signal: AbortSignal | undefined, timeoutMs: number | undefined): Promise<Rpc>;
}

/** How long the daemon may take to answer the goodbye. */
const goodbyeTimeoutMs = 1_000;

export function createConnection(parts: ConnectionParts): LibvirtConnection {
  const { uri, rpc, startedDaemon } = parts;
  const streams = createStreamOpener(rpc, (signal, timeoutMs) => parts.dialStream(signal, timeoutMs));
  const closed = createDeferred<LibvirtClientError | undefined>();
  let closing: Promise<void> | undefined;

  const close = async (): Promise<void> => {
    if (rpc.lostBecause === undefined) {
      await rpc
        .call("connectClose", nothing, nothing, { timeoutMs: goodbyeTimeoutMs })
        .catch(() => undefined);
    }
    rpc.fail(new LibvirtConnectionLostError(`the connection to libvirt at ${uri.text} was closed`));
    await rpc.transport.ended;
  };

  rpc.onLost((error) => closed.resolve(closing === undefined ? error : undefined));

  return {
    uri: uri.text,
    isLocal: uri.transport === "unix",
    startedDaemon,
    closed: closed.promise,
    host: hostCalls(rpc),
    domains: domainCalls(rpc),
    metadata: domainMetadataCalls(rpc),
    statistics: domainStatisticsCalls(rpc),
    devices: domainDeviceCalls(rpc, streams),
    saves: domainSaveCalls(rpc),
    qemu: qemuCalls(rpc),
    pools: storagePoolCalls(rpc),
    volumes: volumeCalls(rpc, streams),
    events: eventCalls(rpc),
    close: () => (closing ??= close()),
    [Symbol.asyncDispose]: () => (closing ??= close()),
  };
}
