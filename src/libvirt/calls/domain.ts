/** Calls about domains: find, define, start, end, describe. */
import type { CallOptions } from "../call-options.ts";

/** How libvirt names a domain on the wire. */
export interface DomainRef {
  name: string;
  /** Lower case, with dashes. */
  uuid: string;
  /** -1 when it does not run. */
  id: number;
}

export type DomainStateName =
  | "nostate"
  | "running"
  | "blocked"
  | "paused"
  | "shutdown"
  | "shutoff"
  | "crashed"
  | "pmsuspended"
  | "unknown";

export interface DomainState {
  state: DomainStateName;
  /** Libvirt's own word, for example `booted`, `user`, `destroyed`, `failed`; `unknown` when it gives none. */
  reason: string;
}

/** Only domains of which all that is given holds. */
export interface DomainFilter {
  active?: boolean | undefined;
  persistent?: boolean | undefined;
  /** Any of these. */
  states?: readonly ("running" | "paused" | "shutoff" | "other")[] | undefined;
  managedSave?: boolean | undefined;
  autostart?: boolean | undefined;
  hasSnapshot?: boolean | undefined;
}

export interface StartOptions extends CallOptions {
  /** The guest's CPUs wait for `resume`. */
  paused?: boolean | undefined;
  /** The daemon destroys the domain when this connection ends. */
  autodestroy?: boolean | undefined;
  /** Discards a managed save image and boots. */
  forceBoot?: boolean | undefined;
}

export interface DefineOptions extends CallOptions {
  /** Checks the document against libvirt's schema. */
  validate?: boolean | undefined;
}

export interface DestroyOptions extends CallOptions {
  /** SIGTERM only: fails rather than kill a QEMU that does not leave by itself. */
  graceful?: boolean | undefined;
}

export interface ShutdownOptions extends CallOptions {
  /** How to ask the guest; libvirt chooses unless told. */
  method?: "acpi" | "agent" | undefined;
}

/** What else to remove; libvirt refuses to undefine a domain that still has one of these. */
export interface UndefineOptions extends CallOptions {
  managedSave?: boolean | undefined;
  snapshotsMetadata?: boolean | undefined;
  checkpointsMetadata?: boolean | undefined;
  /** `true` removes the NVRAM file, `false` keeps it. */
  nvram?: boolean | undefined;
}

export interface XmlOptions extends CallOptions {
  /** With secrets such as passwords. */
  secure?: boolean | undefined;
  /** The persistent configuration rather than that of the running domain. */
  inactive?: boolean | undefined;
  updateCpu?: boolean | undefined;
  migratable?: boolean | undefined;
}

/** Whether a change is for the running domain, its configuration, or (default) what it is now. */
export interface ImpactOptions extends CallOptions {
  live?: boolean | undefined;
  config?: boolean | undefined;
}

export interface DomainCalls {
  list(filter?: DomainFilter, options?: CallOptions): Promise<DomainRef[]>;
  /** Rejects with code `noDomain` when there is none. */
  lookupByName(name: string, options?: CallOptions): Promise<DomainRef>;
  lookupByUuid(uuid: string, options?: CallOptions): Promise<DomainRef>;
  defineXml(xml: string, options?: DefineOptions): Promise<DomainRef>;
  /** Starts a transient domain: it is gone when it ends. */
  createXml(xml: string, options?: StartOptions & DefineOptions): Promise<DomainRef>;
  /** Starts a defined domain; the answer has its new id. */
  create(domain: DomainRef, options?: StartOptions): Promise<DomainRef>;
  destroy(domain: DomainRef, options?: DestroyOptions): Promise<void>;
  /** Asks the guest; the answer does not wait for it. */
  shutdown(domain: DomainRef, options?: ShutdownOptions): Promise<void>;
  reboot(domain: DomainRef, options?: ShutdownOptions): Promise<void>;
  reset(domain: DomainRef, options?: CallOptions): Promise<void>;
  suspend(domain: DomainRef, options?: CallOptions): Promise<void>;
  resume(domain: DomainRef, options?: CallOptions): Promise<void>;
  undefine(domain: DomainRef, options?: UndefineOptions): Promise<void>;
  state(domain: DomainRef, options?: CallOptions): Promise<DomainState>;
  xml(domain: DomainRef, options?: XmlOptions): Promise<string>;
  isPersistent(domain: DomainRef, options?: CallOptions): Promise<boolean>;
  setAutostart(domain: DomainRef, autostart: boolean, options?: CallOptions): Promise<void>;
}
