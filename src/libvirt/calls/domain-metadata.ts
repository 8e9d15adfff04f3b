/** What a domain can be labelled with. */
import type { CallOptions } from "../call-options.ts";
import type { DomainRef, ImpactOptions } from "./domain.ts";

/** An XML element of one's own inside the domain's `<metadata>`. */
export interface MetadataElement {
  /** The element, without a namespace declaration of its own. */
  xml: string;
  /** The namespace prefix that libvirt gives it. */
  prefix: string;
  namespace: string;
}

export interface DomainMetadataCalls {
  /** Rejects with code `noDomainMetadata` when there is none in this namespace. */
  get(domain: DomainRef, namespace: string, options?: ImpactOptions): Promise<string>;
  /** Replaces the element of the same namespace. */
  set(domain: DomainRef, element: MetadataElement, options?: ImpactOptions): Promise<void>;
  remove(domain: DomainRef, namespace: string, options?: ImpactOptions): Promise<void>;
  setTitle(domain: DomainRef, title: string | undefined, options?: ImpactOptions): Promise<void>;
  setDescription(domain: DomainRef, text: string | undefined, options?: ImpactOptions): Promise<void>;
}

/** A value that libvirt names itself. Whole numbers beyond what a number holds exactly are bigints. */
export type TypedValue = number | bigint | boolean | string;

export type StatisticsGroup =
  | "state"
  | "cpu"
  | "balloon"
  | "vcpu"
  | "interface"
  | "block"
  | "perf"
  | "iothread"
  | "memory"
  | "dirtyrate"
  | "vm";

export interface StatisticsOptions extends CallOptions {
  /** All groups that the daemon knows unless told. */
  groups?: readonly StatisticsGroup[] | undefined;
  /** Only these domains; all of them unless told. */
  domains?: readonly DomainRef[] | undefined;
  /** Does not wait for a domain that is busy with another job: its values are then fewer. */
  noWait?: boolean | undefined;
}

export interface DomainStatistics {
  domain: DomainRef;
  /** By libvirt's names: `cpu.time`, `balloon.current`, `block.0.name`, … */
  values: Record<string, TypedValue>;
}

export interface DomainAddress {
  interface: string;
  hardwareAddress: string | undefined;
  addresses: { family: "ipv4" | "ipv6"; address: string; prefixLength: number }[];
}

export interface DomainStatisticsCalls {
  /** The statistics of all, or of some, domains in one call. */
  all(options?: StatisticsOptions): Promise<DomainStatistics[]>;
  of(domain: DomainRef, options?: StatisticsOptions): Promise<Record<string, TypedValue>>;
  interfaceAddresses(
    domain: DomainRef,
    source: "lease" | "agent" | "arp",
    options?: CallOptions,
  ): Promise<DomainAddress[]>;
}
