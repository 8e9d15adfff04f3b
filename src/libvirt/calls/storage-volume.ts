/** Calls about storage volumes. */
import type { Readable, Writable } from "node:stream";

import type { CallOptions } from "../call-options.ts";
import type { StoragePoolRef } from "./storage-pool.ts";

export interface VolumeRef {
  pool: string;
  name: string;
  /** Unique on the host; for a file, its path. */
  key: string;
}

export interface VolumeInfo {
  type: "file" | "block" | "directory" | "network" | "network-directory" | "ploop" | "unknown";
  capacityBytes: number;
  allocationBytes: number;
}

/** A part of the volume; all of it unless told. */
export interface VolumeRange extends CallOptions {
  offsetBytes?: number | undefined;
  lengthBytes?: number | undefined;
}

export interface VolumeCalls {
  list(pool: StoragePoolRef, options?: CallOptions): Promise<VolumeRef[]>;
  /** Rejects with code `noStorageVolume` when there is none. */
  lookupByName(pool: StoragePoolRef, name: string, options?: CallOptions): Promise<VolumeRef>;
  lookupByPath(path: string, options?: CallOptions): Promise<VolumeRef>;
  createXml(
    pool: StoragePoolRef,
    xml: string,
    options?: CallOptions & { preallocateMetadata?: boolean | undefined },
  ): Promise<VolumeRef>;
  /** A new volume with another one's content. */
  createXmlFrom(
    pool: StoragePoolRef,
    xml: string,
    source: VolumeRef,
    options?: CallOptions & { reflink?: boolean | undefined },
  ): Promise<VolumeRef>;
  delete(volume: VolumeRef, options?: CallOptions): Promise<void>;
  resize(
    volume: VolumeRef,
    capacityBytes: number,
    options?: CallOptions & { allocate?: boolean | undefined; shrink?: boolean | undefined },
  ): Promise<void>;
  info(volume: VolumeRef, options?: CallOptions): Promise<VolumeInfo>;
  path(volume: VolumeRef, options?: CallOptions): Promise<string>;
  xml(volume: VolumeRef, options?: CallOptions): Promise<string>;
  /**
   * A stream into the volume: `await pipeline(source, await volumes.upload(volume))`. It has finished when the daemon
   * has confirmed the last byte. `timeoutMs` is for opening it; `signal` ends the open stream, too.
   */
  upload(volume: VolumeRef, range?: VolumeRange): Promise<Writable>;
  download(volume: VolumeRef, range?: VolumeRange): Promise<Readable>;
}
