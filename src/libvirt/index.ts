/**
 * A libvirt client in TypeScript: libvirt's own RPC protocol over a unix socket, TCP or ssh, without a native addon and
 * without `virsh`. It uses nothing of heyvm's other parts, as it could be a package of its own: `deferred.ts` and
 * `on-abort.ts` are copies of those in `core/`.
 */
export { connectLibvirt } from "./connect.ts";
export type { ConnectOptions, KeepAliveOptions } from "./connect.ts";
export type { CallOptions } from "./call-options.ts";
export type { LibvirtConnection, StartedDaemon } from "./connection.ts";
export { qemuPidFile } from "./daemon/qemu-pid-file.ts";
export { startSystemDaemon } from "./daemon/system-daemon.ts";
export type { StartSystemDaemonOptions } from "./daemon/system-daemon.ts";
export { driverFeature } from "./procedures.ts";
export * from "./errors.ts";
export { libvirtErrorCode, libvirtErrorName } from "./error-codes.ts";
export type { LibvirtErrorName } from "./error-codes.ts";
export type * from "./events.ts";
export type * from "./calls/domain.ts";
export type * from "./calls/domain-devices.ts";
export type * from "./calls/domain-metadata.ts";
export type * from "./calls/domain-saves.ts";
export type * from "./calls/domain-statistics.ts";
export type * from "./calls/host.ts";
export type * from "./calls/qemu.ts";
export type * from "./calls/storage-pool.ts";
export type * from "./calls/storage-volume.ts";
export type { DomainRef, TypedValue, SnapshotRef, StoragePoolRef, VolumeRef } from "./xdr-types.ts";
