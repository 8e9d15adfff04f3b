/** A sandbox's description: snake case on the wire, camel case here, and nowhere else a mapping between them. */
import type {
  CreateSandboxInput,
  OpenPort,
  Sandbox as SandboxDocument,
  SandboxStatus,
} from "../api/schema.ts";
import type { SandboxType, SizeClass } from "../config/machine-kinds.ts";
import { nearest } from "../config/nearest.ts";
import { InvalidArgumentError } from "../errors/index.ts";

/** A host folder that the guest sees at `sandboxPath`. */
export interface Mount {
  hostPath: string;
  sandboxPath: string;
  readOnly?: boolean | undefined;
}

/** A guest port on 127.0.0.1 of the host: the same number, or another one. */
export type PublishedPort = number | { guestPort: number; hostPort: number };

/** What a sandbox's machine takes of the memory of the daemon's host. Clones share their template's. */
export interface HostMemory {
  /** What would be free if it ended. */
  privateBytes: number;
  /** With its share of what it has in common with others (PSS). */
  proportionalBytes: number;
}

export interface CreateSandboxOptions {
  /** Default: made up. */
  name?: string | undefined;
  /** Default: made of the name. */
  slug?: string | undefined;
  /** Default: `shell`. */
  type?: SandboxType | undefined;
  /** `debian:12`, a path or a URL. Default: the setting `image`. */
  image?: string | undefined;
  /** Default: the setting `backend_type`. */
  backend?: string | undefined;
  /** libvirt connection. Default: the setting `libvirt.uri`. */
  uri?: string | undefined;
  cpus?: number | undefined;
  memoryBytes?: number | undefined;
  /** Default: the image's own size. */
  diskBytes?: number | undefined;
  sizeClass?: SizeClass | undefined;
  mounts?: readonly Mount[] | undefined;
  /** `null`: never, whatever the settings say. */
  ttlSeconds?: number | null | undefined;
  startCommand?: string | undefined;
  /** Default: `/workspace`. */
  workingDirectory?: string | undefined;
  openPorts?: readonly PublishedPort[] | undefined;
  env?: Readonly<Record<string, string>> | undefined;
  /** Shell command lines, run in order before the sandbox is ready. */
  setupHooks?: readonly string[] | undefined;
  needsNetwork?: boolean | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  /** `false`: its machine boots, also where it could be a clone of a template, or one of the warm pool. Default: `true`. */
  clone?: boolean | undefined;
}

export interface SandboxInfo {
  id: string;
  name: string;
  slug: string;
  status: SandboxStatus;
  type: SandboxType;
  image: string | null;
  backend: string;
  uri: string | undefined;
  cpus: number;
  memoryBytes: number;
  diskBytes: number | null;
  mounts: Mount[];
  workingDirectory: string;
  startCommand: string | undefined;
  env: Record<string, string>;
  needsNetwork: boolean;
  ttlSeconds: number | null;
  createdAt: Date;
  startedAt: Date | null;
  expiresAt: Date | null;
  uptimeSeconds: number | null;
  /** Per cent of its CPUs; `null` when not known. This and the two below are there when they were asked for: `stats`. */
  cpuUsage: number | null;
  memoryUsageBytes: number | null;
  /** `null` when not known: its machine is off, on another host, or another user's. */
  hostMemory: HostMemory | null;
  guestIp: string | undefined;
  openPorts: PublishedPort[];
  labels: Record<string, string>;
  warnings: string[];
  /** How the machine came up: a clone of a template, or a boot. */
  startMode: "cloned" | "booted" | undefined;
  /** Why it had to boot. */
  startReason: string | undefined;
  errorMessage: string | undefined;
}

/** Complete by its type: what is added above is asked for here. */
const createOptions: Readonly<Record<keyof CreateSandboxOptions, true>> = {
  name: true,
  slug: true,
  type: true,
  image: true,
  backend: true,
  uri: true,
  cpus: true,
  memoryBytes: true,
  diskBytes: true,
  sizeClass: true,
  mounts: true,
  ttlSeconds: true,
  startCommand: true,
  workingDirectory: true,
  openPorts: true,
  env: true,
  setupHooks: true,
  needsNetwork: true,
  labels: true,
  clone: true,
};
const mountOptions: Readonly<Record<keyof Mount, true>> = {
  hostPath: true,
  sandboxPath: true,
  readOnly: true,
};
const portOptions: Readonly<Record<"guestPort" | "hostPort", true>> = { guestPort: true, hostPort: true };

/** Throws `invalid_argument` for an option that there is not, as the API does for a field: JavaScript has no types. */
export function toCreateRequest(options: CreateSandboxOptions): CreateSandboxInput {
  refuseUnknown(options, createOptions, "");
  options.mounts?.forEach((mount, index) => refuseUnknown(mount, mountOptions, `mounts[${index}]`));
  options.openPorts?.forEach((port, index) => {
    if (typeof port !== "number") refuseUnknown(port, portOptions, `openPorts[${index}]`);
  });
  return {
    name: options.name,
    slug: options.slug,
    sandbox_type: options.type,
    image: options.image,
    backend_type: options.backend,
    uri: options.uri,
    cpus: options.cpus,
    memory: options.memoryBytes,
    disk: options.diskBytes,
    size_class: options.sizeClass,
    mounts: options.mounts?.map((mount) => ({
      host_path: mount.hostPath,
      sandbox_path: mount.sandboxPath,
      read_only: mount.readOnly ?? false,
    })),
    ttl_seconds: options.ttlSeconds,
    start_command: options.startCommand,
    working_directory: options.workingDirectory,
    open_ports: options.openPorts?.map((port) =>
      typeof port === "number" ? port : { guest_port: port.guestPort, host_port: port.hostPort },
    ),
    env_vars: options.env === undefined ? undefined : { ...options.env },
    setup_hooks: options.setupHooks === undefined ? undefined : [...options.setupHooks],
    needs_network: options.needsNetwork,
    labels: options.labels === undefined ? undefined : { ...options.labels },
    clone: options.clone,
  };
}

export function toSandboxInfo(document: SandboxDocument): SandboxInfo {
  return {
    id: document.id,
    name: document.name,
    slug: document.slug,
    status: document.status,
    type: document.sandbox_type,
    image: document.image,
    backend: document.backend_type,
    uri: document.uri,
    cpus: document.cpus,
    memoryBytes: document.memory,
    diskBytes: document.disk,
    mounts: document.mounts.map((mount) => ({
      hostPath: mount.host_path,
      sandboxPath: mount.sandbox_path,
      readOnly: mount.read_only,
    })),
    workingDirectory: document.working_directory,
    startCommand: document.start_command,
    env: document.env_vars,
    needsNetwork: document.needs_network,
    ttlSeconds: document.ttl_seconds,
    createdAt: new Date(document.created_at),
    startedAt: toDate(document.started_at),
    expiresAt: toDate(document.expires_at),
    uptimeSeconds: document.uptime_secs,
    cpuUsage: document.cpu_usage,
    memoryUsageBytes: document.memory_usage,
    hostMemory: hostMemoryOf(document),
    guestIp: document.guest_ip,
    openPorts: document.open_ports.map(toPublishedPort),
    labels: document.labels,
    warnings: document.warnings,
    startMode: document.start_mode,
    startReason: document.start_reason,
    errorMessage: document.error_message,
  };
}

function toPublishedPort(port: OpenPort): PublishedPort {
  return typeof port === "number" ? port : { guestPort: port.guest_port, hostPort: port.host_port };
}

function toDate(text: string | null): Date | null {
  return text === null ? null : new Date(text);
}

/** A daemon of an earlier version, which is not replaced while it is busy, does not tell. */
function hostMemoryOf({ host_memory }: Partial<SandboxDocument>): HostMemory | null {
  if (host_memory === undefined || host_memory === null) return null;
  return { privateBytes: host_memory.private, proportionalBytes: host_memory.proportional };
}

function refuseUnknown(given: unknown, options: Readonly<Record<string, true>>, place: string): void {
  if (!isObject(given)) {
    const what = place === "" ? "options" : place;
    throw new InvalidArgumentError(what, `${what} must be an object`);
  }
  const unknown = Object.keys(given).find((key) => given[key] !== undefined && !Object.hasOwn(options, key));
  if (unknown === undefined) return;
  const known = Object.keys(options);
  const suggestion = nearest(unknown, known);
  throw new InvalidArgumentError(
    place === "" ? unknown : `${place}.${unknown}`,
    `there is no option ${JSON.stringify(unknown.slice(0, 80))}${place === "" ? "" : ` in ${place}`}`,
    {
      hint: suggestion === undefined ? `known options: ${known.join(", ")}` : `did you mean "${suggestion}"?`,
    },
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
