/** Calls about storage pools. */
import type { CallOptions } from "../call-options.ts";
import type { ProcedureName } from "../procedures.ts";
import { nothing, type Rpc, type WriteArguments } from "../rpc.ts";
import {
  maxListItems,
  readCount,
  readPool,
  uuidBytes,
  writePool,
  type StoragePoolRef,
} from "../xdr-types.ts";
import type { XdrReader } from "../xdr.ts";
import { either, flags, nameAt } from "./flags.ts";

export interface StoragePoolInfo {
  state: "inactive" | "building" | "running" | "degraded" | "inaccessible" | "unknown";
  capacityBytes: number;
  allocationBytes: number;
  availableBytes: number;
}

export interface StoragePoolCalls {
  list(filter?: { active?: boolean | undefined }, options?: CallOptions): Promise<StoragePoolRef[]>;
  /** Rejects with code `noStoragePool` when there is none. */
  lookupByName(name: string, options?: CallOptions): Promise<StoragePoolRef>;
  lookupByUuid(uuid: string, options?: CallOptions): Promise<StoragePoolRef>;
  lookupByTargetPath(path: string, options?: CallOptions): Promise<StoragePoolRef>;
  defineXml(xml: string, options?: CallOptions): Promise<StoragePoolRef>;
  /** Starts a transient pool. */
  createXml(xml: string, options?: CallOptions & { build?: boolean | undefined }): Promise<StoragePoolRef>;
  /** Makes what the pool stands on, for example its folder. */
  build(pool: StoragePoolRef, options?: CallOptions): Promise<void>;
  start(pool: StoragePoolRef, options?: CallOptions & { build?: boolean | undefined }): Promise<void>;
  setAutostart(pool: StoragePoolRef, autostart: boolean, options?: CallOptions): Promise<void>;
  refresh(pool: StoragePoolRef, options?: CallOptions): Promise<void>;
  /** Stops it; its volumes stay. */
  destroy(pool: StoragePoolRef, options?: CallOptions): Promise<void>;
  /** Removes what the pool stands on. */
  delete(pool: StoragePoolRef, options?: CallOptions): Promise<void>;
  undefine(pool: StoragePoolRef, options?: CallOptions): Promise<void>;
  info(pool: StoragePoolRef, options?: CallOptions): Promise<StoragePoolInfo>;
  xml(pool: StoragePoolRef, options?: CallOptions): Promise<string>;
  isActive(pool: StoragePoolRef, options?: CallOptions): Promise<boolean>;
}

const poolStates = ["inactive", "building", "running", "degraded", "inaccessible"] as const;

export function storagePoolCalls(rpc: Rpc): StoragePoolCalls {
  const change = (
    name: ProcedureName,
    pool: StoragePoolRef,
    bits: number | undefined,
    options: CallOptions | undefined,
  ): Promise<void> =>
    rpc.call(
      name,
      (writer) => (bits === undefined ? writePool(writer, pool) : writePool(writer, pool).u32(bits)),
      nothing,
      options,
    );
  const find = (
    name: ProcedureName,
    write: WriteArguments,
    options: CallOptions | undefined,
  ): Promise<StoragePoolRef> => rpc.call(name, write, readPool, options);

  return {
    list: (filter = {}, options = {}) =>
      rpc.call(
        "connectListAllStoragePools",
        (writer) => writer.i32(1).u32(either(filter.active, 2, 1)),
        readPoolList,
        options,
      ),
    lookupByName: (name, options) =>
      find("storagePoolLookupByName", (writer) => writer.string(name), options),
    lookupByUuid: (uuid, options) =>
      find("storagePoolLookupByUuid", (writer) => writer.fixedOpaque(uuidBytes(uuid)), options),
    lookupByTargetPath: (path, options) =>
      find("storagePoolLookupByTargetPath", (writer) => writer.string(path), options),
    defineXml: (xml, options) => find("storagePoolDefineXml", (writer) => writer.string(xml).u32(0), options),
    createXml: (xml, options = {}) =>
      find("storagePoolCreateXml", (writer) => writer.string(xml).u32(flags([options.build, 1])), options),
    build: (pool, options) => change("storagePoolBuild", pool, 0, options),
    start: (pool, options = {}) => change("storagePoolCreate", pool, flags([options.build, 1]), options),
    setAutostart: (pool, autostart, options) =>
      change("storagePoolSetAutostart", pool, autostart ? 1 : 0, options),
    refresh: (pool, options) => change("storagePoolRefresh", pool, 0, options),
    destroy: (pool, options) => change("storagePoolDestroy", pool, undefined, options),
    delete: (pool, options) => change("storagePoolDelete", pool, 0, options),
    undefine: (pool, options) => change("storagePoolUndefine", pool, undefined, options),
    info: (pool, options) =>
      rpc.call("storagePoolGetInfo", (writer) => writePool(writer, pool), readInfo, options),
    xml: (pool, options) =>
      rpc.call(
        "storagePoolGetXmlDesc",
        (writer) => writePool(writer, pool).u32(0),
        (reader) => reader.string(),
        options,
      ),
    isActive: (pool, options) =>
      rpc.call(
        "storagePoolIsActive",
        (writer) => writePool(writer, pool),
        (reader) => reader.i32() > 0,
        options,
      ),
  };
}

function readPoolList(reader: XdrReader): StoragePoolRef[] {
  const pools = reader.array(maxListItems, 20, () => readPool(reader));
  reader.u32();
  return pools;
}

function readInfo(reader: XdrReader): StoragePoolInfo {
  return {
    state: nameAt(poolStates, reader.u32()),
    capacityBytes: readCount(reader),
    allocationBytes: readCount(reader),
    availableBytes: readCount(reader),
  };
}
