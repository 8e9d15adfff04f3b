/** Calls about domains: find, define, start, end, describe. */
import type { CallOptions } from "../call-options.ts";
import { nothing, type Rpc, type WriteArguments } from "../rpc.ts";
import {
  domainBytes,
  maxListItems,
  readDomain,
  uuidBytes,
  writeDomain,
  type DomainRef,
} from "../xdr-types.ts";
import type { XdrReader } from "../xdr.ts";
import { domainStateNames, domainStateReasons } from "./domain-state-names.ts";
import { either, flags, nameAt } from "./flags.ts";

export type DomainStateName = (typeof domainStateNames)[number] | "unknown";

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

export function domainCalls(rpc: Rpc): DomainCalls {
  return {
    list: (filter = {}, options = {}) =>
      rpc.call(
        "connectListAllDomains",
        (writer) => writer.i32(1).u32(filterBits(filter)),
        readDomainList,
        options,
      ),
    lookupByName: (name, options) =>
      rpc.call("domainLookupByName", (writer) => writer.string(name), readDomain, options),
    lookupByUuid: (uuid, options) =>
      rpc.call("domainLookupByUuid", (writer) => writer.fixedOpaque(uuidBytes(uuid)), readDomain, options),
    defineXml: (xml, options = {}) =>
      rpc.call(
        "domainDefineXmlFlags",
        (writer) => writer.string(xml).u32(flags([options.validate, 1])),
        readDomain,
        options,
      ),
    createXml: (xml, options = {}) =>
      rpc.call(
        "domainCreateXml",
        (writer) => writer.string(xml).u32(startBits(options) | flags([options.validate, 16])),
        readDomain,
        options,
      ),
    create: (domain, options = {}) =>
      rpc.call("domainCreateWithFlags", withFlags(domain, startBits(options)), readDomain, options),
    destroy: (domain, options = {}) =>
      rpc.call("domainDestroyFlags", withFlags(domain, flags([options.graceful, 1])), nothing, options),
    shutdown: (domain, options = {}) =>
      rpc.call("domainShutdownFlags", withFlags(domain, methodBits(options)), nothing, options),
    reboot: (domain, options = {}) =>
      rpc.call("domainReboot", withFlags(domain, methodBits(options)), nothing, options),
    reset: (domain, options) => rpc.call("domainReset", withFlags(domain, 0), nothing, options),
    suspend: (domain, options) => rpc.call("domainSuspend", alone(domain), nothing, options),
    resume: (domain, options) => rpc.call("domainResume", alone(domain), nothing, options),
    undefine: (domain, options = {}) =>
      rpc.call("domainUndefineFlags", withFlags(domain, undefineBits(options)), nothing, options),
    state: (domain, options) => rpc.call("domainGetState", withFlags(domain, 0), readState, options),
    xml: (domain, options = {}) =>
      rpc.call(
        "domainGetXmlDesc",
        withFlags(
          domain,
          flags([options.secure, 1], [options.inactive, 2], [options.updateCpu, 4], [options.migratable, 8]),
        ),
        (reader) => reader.string(),
        options,
      ),
    isPersistent: (domain, options) =>
      rpc.call("domainIsPersistent", alone(domain), (reader) => reader.i32() > 0, options),
    setAutostart: (domain, autostart, options) =>
      rpc.call(
        "domainSetAutostart",
        (writer) => writeDomain(writer, domain).i32(autostart ? 1 : 0),
        nothing,
        options,
      ),
  };
}

function alone(domain: DomainRef): WriteArguments {
  return (writer) => writeDomain(writer, domain);
}

function withFlags(domain: DomainRef, bits: number): WriteArguments {
  return (writer) => writeDomain(writer, domain).u32(bits);
}

function readDomainList(reader: XdrReader): DomainRef[] {
  const domains = reader.array(maxListItems, domainBytes, () => readDomain(reader));
  reader.u32();
  return domains;
}

function readState(reader: XdrReader): DomainState {
  const state = reader.i32();
  const reason = reader.i32();
  const name = nameAt(domainStateNames, state);
  return { state: name, reason: name === "unknown" ? "unknown" : nameAt(domainStateReasons[name], reason) };
}

function filterBits(filter: DomainFilter): number {
  const states = filter.states ?? [];
  return (
    either(filter.active, 1, 2) |
    either(filter.persistent, 4, 8) |
    flags(
      [states.includes("running"), 16],
      [states.includes("paused"), 32],
      [states.includes("shutoff"), 64],
      [states.includes("other"), 128],
    ) |
    either(filter.managedSave, 256, 512) |
    either(filter.autostart, 1024, 2048) |
    either(filter.hasSnapshot, 4096, 8192)
  );
}

function startBits(options: StartOptions): number {
  return flags([options.paused, 1], [options.autodestroy, 2], [options.forceBoot, 8]);
}

function methodBits(options: ShutdownOptions): number {
  return flags([options.method === "acpi", 1], [options.method === "agent", 2]);
}

function undefineBits(options: UndefineOptions): number {
  return (
    flags([options.managedSave, 1], [options.snapshotsMetadata, 2], [options.checkpointsMetadata, 16]) |
    either(options.nvram, 4, 8)
  );
}
