/** Calls about storage pools. */
import type { CallOptions } from "../call-options.ts";

export interface StoragePoolRef {
  name: string;
  uuid: string;
}

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
