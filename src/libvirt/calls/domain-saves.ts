/** Saved states of domains, and the jobs that make them. */
import type { CallOptions } from "../call-options.ts";
import type { DomainRef } from "./domain.ts";
import type { TypedValue } from "./domain-metadata.ts";

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

export interface SnapshotRef {
  name: string;
  domain: DomainRef;
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
