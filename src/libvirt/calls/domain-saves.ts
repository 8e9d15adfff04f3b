/** Saved states of domains, and the jobs that make them. */
import type { CallOptions } from "../call-options.ts";
import { nothing, type Rpc } from "../rpc.ts";
import {
  maxListItems,
  readSnapshot,
  readTypedParameters,
  writeDomain,
  writeSnapshot,
  type DomainRef,
  type TypedValue,
  type SnapshotRef,
} from "../xdr-types.ts";
import type { XdrReader } from "../xdr.ts";
import { flags, nameAt } from "./flags.ts";

export interface SaveOptions extends CallOptions {
  /** What the domain is to be after the restore: what it was, unless told. */
  restoreAs?: "running" | "paused" | undefined;
  /** Avoids the host's page cache. */
  bypassCache?: boolean | undefined;
}

export interface JobStatistics {
  type: "none" | "bounded" | "unbounded" | "completed" | "failed" | "cancelled" | "unknown";
  values: Record<string, TypedValue>;
}

export interface SnapshotCreateOptions extends CallOptions {
  diskOnly?: boolean | undefined;
  noMetadata?: boolean | undefined;
  quiesce?: boolean | undefined;
  atomic?: boolean | undefined;
}

/** Saving takes as long as the guest's memory is big: give `timeoutMs`. */
export interface DomainSaveCalls {
  /** Ends the domain; the next `create` goes on from here. */
  managedSave(domain: DomainRef, options?: SaveOptions): Promise<void>;
  hasManagedSave(domain: DomainRef, options?: CallOptions): Promise<boolean>;
  removeManagedSave(domain: DomainRef, options?: CallOptions): Promise<void>;
  /** Ends the domain and keeps its state in a file on the daemon's host. */
  save(domain: DomainRef, path: string, options?: SaveOptions): Promise<void>;
  restore(path: string, options?: SaveOptions): Promise<void>;
  abortJob(domain: DomainRef, options?: CallOptions): Promise<void>;
  jobStatistics(domain: DomainRef, options?: CallOptions & { completed?: boolean }): Promise<JobStatistics>;
  createSnapshot(domain: DomainRef, xml: string, options?: SnapshotCreateOptions): Promise<SnapshotRef>;
  listSnapshots(domain: DomainRef, options?: CallOptions): Promise<SnapshotRef[]>;
  snapshotXml(snapshot: SnapshotRef, options?: CallOptions): Promise<string>;
  revertToSnapshot(
    snapshot: SnapshotRef,
    options?: CallOptions & { as?: "running" | "paused" },
  ): Promise<void>;
  deleteSnapshot(snapshot: SnapshotRef, options?: CallOptions & { metadataOnly?: boolean }): Promise<void>;
}

const jobTypes = ["none", "bounded", "unbounded", "completed", "failed", "cancelled"] as const;

export function domainSaveCalls(rpc: Rpc): DomainSaveCalls {
  return {
    managedSave: (domain, options = {}) =>
      rpc.call(
        "domainManagedSave",
        (writer) => writeDomain(writer, domain).u32(saveBits(options)),
        nothing,
        options,
      ),
    hasManagedSave: (domain, options) =>
      rpc.call(
        "domainHasManagedSaveImage",
        (writer) => writeDomain(writer, domain).u32(0),
        (reader) => reader.i32() > 0,
        options,
      ),
    removeManagedSave: (domain, options) =>
      rpc.call("domainManagedSaveRemove", (writer) => writeDomain(writer, domain).u32(0), nothing, options),
    save: (domain, path, options = {}) =>
      rpc.call(
        "domainSaveFlags",
        (writer) => writeDomain(writer, domain).string(path).optionalString(undefined).u32(saveBits(options)),
        nothing,
        options,
      ),
    restore: (path, options = {}) =>
      rpc.call(
        "domainRestoreFlags",
        (writer) => writer.string(path).optionalString(undefined).u32(saveBits(options)),
        nothing,
        options,
      ),
    abortJob: (domain, options) =>
      rpc.call("domainAbortJob", (writer) => writeDomain(writer, domain), nothing, options),
    jobStatistics: (domain, options = {}) =>
      rpc.call(
        "domainGetJobStats",
        (writer) => writeDomain(writer, domain).u32(flags([options.completed, 1])),
        readJob,
        options,
      ),
    createSnapshot: (domain, xml, options = {}) =>
      rpc.call(
        "domainSnapshotCreateXml",
        (writer) => writeDomain(writer, domain).string(xml).u32(snapshotBits(options)),
        readSnapshot,
        options,
      ),
    listSnapshots: (domain, options) =>
      rpc.call(
        "domainListAllSnapshots",
        (writer) => writeDomain(writer, domain).i32(1).u32(0),
        readSnapshotList,
        options,
      ),
    snapshotXml: (snapshot, options) =>
      rpc.call(
        "domainSnapshotGetXmlDesc",
        (writer) => writeSnapshot(writer, snapshot).u32(0),
        (reader) => reader.string(),
        options,
      ),
    revertToSnapshot: (snapshot, options = {}) =>
      rpc.call(
        "domainRevertToSnapshot",
        (writer) =>
          writeSnapshot(writer, snapshot).u32(
            flags([options.as === "running", 1], [options.as === "paused", 2]),
          ),
        nothing,
        options,
      ),
    deleteSnapshot: (snapshot, options = {}) =>
      rpc.call(
        "domainSnapshotDelete",
        (writer) => writeSnapshot(writer, snapshot).u32(flags([options.metadataOnly, 2])),
        nothing,
        options,
      ),
  };
}

function saveBits(options: SaveOptions): number {
  return flags(
    [options.bypassCache, 1],
    [options.restoreAs === "running", 2],
    [options.restoreAs === "paused", 4],
  );
}

function snapshotBits(options: SnapshotCreateOptions): number {
  return flags([options.noMetadata, 4], [options.diskOnly, 16], [options.quiesce, 64], [options.atomic, 128]);
}

function readJob(reader: XdrReader): JobStatistics {
  return { type: nameAt(jobTypes, reader.i32()), values: readTypedParameters(reader) };
}

function readSnapshotList(reader: XdrReader): SnapshotRef[] {
  const snapshots = reader.array(maxListItems, 28, () => readSnapshot(reader));
  reader.i32();
  return snapshots;
}
