/** What a domain uses, and where it is reached. */
import type { CallOptions } from "../call-options.ts";
import type { Rpc } from "../rpc.ts";
import {
  domainBytes,
  maxListItems,
  readDomain,
  readTypedParameters,
  writeDomain,
  type DomainRef,
  type TypedValue,
} from "../xdr-types.ts";
import type { XdrReader } from "../xdr.ts";

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

const groupBits: Record<StatisticsGroup, number> = {
  state: 1,
  cpu: 2,
  balloon: 4,
  vcpu: 8,
  interface: 16,
  block: 32,
  perf: 64,
  iothread: 128,
  memory: 256,
  dirtyrate: 512,
  vm: 1024,
};
const noWaitBit = 0x2000_0000;
/** What the daemon may send of one domain's addresses. */
const maxAddresses = 2048;

export function domainStatisticsCalls(rpc: Rpc): DomainStatisticsCalls {
  const all = (options: StatisticsOptions = {}): Promise<DomainStatistics[]> => {
    const { groups = [], domains = [], noWait = false } = options;
    // No group at all means every one that the daemon knows.
    const wanted = groups.reduce((bits, group) => bits | groupBits[group], 0);
    return rpc.call(
      "connectGetAllDomainStats",
      (writer) =>
        writer
          .array(domains, (domain) => writeDomain(writer, domain))
          .u32(wanted)
          .u32(noWait ? noWaitBit : 0),
      (reader) => reader.array(maxListItems, domainBytes + 4, () => readStatistics(reader)),
      options,
    );
  };

  return {
    all,
    of: async (domain, options) => {
      const [statistics] = await all({ ...options, domains: [domain] });
      return statistics?.values ?? {};
    },
    interfaceAddresses: (domain, source, options) =>
      rpc.call(
        "domainInterfaceAddresses",
        (writer) => writeDomain(writer, domain).u32({ lease: 0, agent: 1, arp: 2 }[source]).u32(0),
        (reader) => reader.array(maxAddresses, 12, () => readAddress(reader)),
        options,
      ),
  };
}

function readStatistics(reader: XdrReader): DomainStatistics {
  return { domain: readDomain(reader), values: readTypedParameters(reader) };
}

function readAddress(reader: XdrReader): DomainAddress {
  return {
    interface: reader.string(),
    hardwareAddress: reader.optionalString(),
    addresses: reader.array(maxAddresses, 12, () => ({
      family: reader.i32() === 1 ? "ipv6" : "ipv4",
      address: reader.string(),
      prefixLength: reader.u32(),
    })),
  };
}
