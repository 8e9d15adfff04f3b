/** Calls about the connection and the host behind it. */
import type { CallOptions } from "../call-options.ts";

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
