/** Calls about storage volumes. */
import type { Duplex, Readable, Writable } from "node:stream";

import type { CallOptions } from "../call-options.ts";
import { nothing, type Rpc } from "../rpc.ts";
import type { StreamOpener } from "../stream-opener.ts";
import {
  maxListItems,
  readCount,
  readVolume,
  writePool,
  writeVolume,
  type StoragePoolRef,
  type VolumeRef,
} from "../xdr-types.ts";
import type { XdrReader } from "../xdr.ts";
import { flags, nameAt } from "./flags.ts";

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

const volumeTypes = ["file", "block", "directory", "network", "network-directory", "ploop"] as const;

export function volumeCalls(rpc: Rpc, streams: StreamOpener): VolumeCalls {
  const transfer = async (
    name: "storageVolUpload" | "storageVolDownload",
    volume: VolumeRef,
    range: VolumeRange = {},
  ): Promise<Duplex> => {
    const { stream } = await streams.open(
      {
        name,
        direction: name === "storageVolUpload" ? "out" : "in",
        // A length of 0 is all that there is.
        write: (writer) =>
          writeVolume(writer, volume)
            .u64(range.offsetBytes ?? 0)
            .u64(range.lengthBytes ?? 0)
            .u32(0),
        read: nothing,
      },
      range,
    );
    return stream;
  };

  return {
    list: (pool, options) =>
      rpc.call(
        "storagePoolListAllVolumes",
        (writer) => writePool(writer, pool).i32(1).u32(0),
        readVolumeList,
        options,
      ),
    lookupByName: (pool, name, options) =>
      rpc.call(
        "storageVolLookupByName",
        (writer) => writePool(writer, pool).string(name),
        readVolume,
        options,
      ),
    lookupByPath: (path, options) =>
      rpc.call("storageVolLookupByPath", (writer) => writer.string(path), readVolume, options),
    createXml: (pool, xml, options = {}) =>
      rpc.call(
        "storageVolCreateXml",
        (writer) =>
          writePool(writer, pool)
            .string(xml)
            .u32(flags([options.preallocateMetadata, 1])),
        readVolume,
        options,
      ),
    createXmlFrom: (pool, xml, source, options = {}) =>
      rpc.call(
        "storageVolCreateXmlFrom",
        (writer) => writeVolume(writePool(writer, pool).string(xml), source).u32(flags([options.reflink, 2])),
        readVolume,
        options,
      ),
    delete: (volume, options) =>
      rpc.call("storageVolDelete", (writer) => writeVolume(writer, volume).u32(0), nothing, options),
    resize: (volume, capacityBytes, options = {}) =>
      rpc.call(
        "storageVolResize",
        (writer) =>
          writeVolume(writer, volume)
            .u64(capacityBytes)
            .u32(flags([options.allocate, 1], [options.shrink, 4])),
        nothing,
        options,
      ),
    info: (volume, options) =>
      rpc.call("storageVolGetInfo", (writer) => writeVolume(writer, volume), readInfo, options),
    path: (volume, options) =>
      rpc.call(
        "storageVolGetPath",
        (writer) => writeVolume(writer, volume),
        (reader) => reader.string(),
        options,
      ),
    xml: (volume, options) =>
      rpc.call(
        "storageVolGetXmlDesc",
        (writer) => writeVolume(writer, volume).u32(0),
        (reader) => reader.string(),
        options,
      ),
    upload: (volume, range) => transfer("storageVolUpload", volume, range),
    download: (volume, range) => transfer("storageVolDownload", volume, range),
  };
}

function readVolumeList(reader: XdrReader): VolumeRef[] {
  const volumes = reader.array(maxListItems, 12, () => readVolume(reader));
  reader.u32();
  return volumes;
}

function readInfo(reader: XdrReader): VolumeInfo {
  return {
    type: nameAt(volumeTypes, reader.i32()),
    capacityBytes: readCount(reader),
    allocationBytes: readCount(reader),
  };
}
