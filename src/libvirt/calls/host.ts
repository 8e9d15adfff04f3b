/** Calls about the connection and the host behind it. */
import type { CallOptions } from "../call-options.ts";
import { nothing, type Rpc } from "../rpc.ts";
import { readCount } from "../xdr-types.ts";
import type { XdrReader } from "../xdr.ts";

/** `major.minor.release`, and the same as libvirt's single number. */
export interface LibvirtVersion {
  text: string;
  number: number;
}

export interface NodeInfo {
  /** The CPU's architecture, for example `x86_64`. */
  model: string;
  memoryBytes: number;
  cpus: number;
  mhz: number;
  numaNodes: number;
  socketsPerNode: number;
  coresPerSocket: number;
  threadsPerCore: number;
}

export interface DomainCapabilitiesQuery {
  emulatorPath?: string | undefined;
  architecture?: string | undefined;
  machine?: string | undefined;
  virtType?: "kvm" | "qemu" | undefined;
}

export interface HostCalls {
  /** The version of the daemon's libvirt. */
  libraryVersion(options?: CallOptions): Promise<LibvirtVersion>;
  /** The version of QEMU. */
  hypervisorVersion(options?: CallOptions): Promise<LibvirtVersion>;
  hostname(options?: CallOptions): Promise<string>;
  /** The capabilities document (XML). */
  capabilities(options?: CallOptions): Promise<string>;
  /** The domain capabilities document (XML) of an emulator, machine and so on. */
  domainCapabilities(query?: DomainCapabilitiesQuery, options?: CallOptions): Promise<string>;
  nodeInfo(options?: CallOptions): Promise<NodeInfo>;
  /** `feature`: a number of libvirt's internal list, see `driverFeature`. */
  supportsFeature(feature: number, options?: CallOptions): Promise<boolean>;
}

export function hostCalls(rpc: Rpc): HostCalls {
  return {
    libraryVersion: (options) => rpc.call("connectGetLibVersion", nothing, readVersion, options),
    hypervisorVersion: (options) => rpc.call("connectGetVersion", nothing, readVersion, options),
    hostname: (options) => rpc.call("connectGetHostname", nothing, (reader) => reader.string(), options),
    capabilities: (options) =>
      rpc.call("connectGetCapabilities", nothing, (reader) => reader.string(), options),
    domainCapabilities: (query = {}, options = {}) =>
      rpc.call(
        "connectGetDomainCapabilities",
        (writer) =>
          writer
            .optionalString(query.emulatorPath)
            .optionalString(query.architecture)
            .optionalString(query.machine)
            .optionalString(query.virtType)
            .u32(0),
        (reader) => reader.string(),
        options,
      ),
    nodeInfo: (options) => rpc.call("nodeGetInfo", nothing, readNodeInfo, options),
    supportsFeature: (feature, options) =>
      rpc.call(
        "connectSupportsFeature",
        (writer) => writer.i32(feature),
        (reader) => reader.i32() > 0,
        options,
      ),
  };
}

function readVersion(reader: XdrReader): LibvirtVersion {
  const number = readCount(reader);
  const parts = [number / 1_000_000, (number / 1_000) % 1_000, number % 1_000];
  return { number, text: parts.map((part) => Math.floor(part)).join(".") };
}

function readNodeInfo(reader: XdrReader): NodeInfo {
  // A C array of 32 characters, each of which takes a word in XDR.
  const characters = Array.from({ length: 32 }, () => reader.i32() & 0xff);
  const end = characters.indexOf(0);
  return {
    model: Buffer.from(end < 0 ? characters : characters.slice(0, end)).toString("utf8"),
    memoryBytes: readCount(reader) * 1024,
    cpus: reader.i32(),
    mhz: reader.i32(),
    numaNodes: reader.i32(),
    socketsPerNode: reader.i32(),
    coresPerSocket: reader.i32(),
    threadsPerCore: reader.i32(),
  };
}
