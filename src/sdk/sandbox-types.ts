/** Made from `src/sandbox/shape.ts` by `script/generate-sdk-types.ts`; don't edit. */

/** A host folder that the guest sees at `sandboxPath`. */
export interface Mount {
  hostPath: string;
  sandboxPath: string;
  readOnly?: boolean | undefined;
}

/** A guest port on 127.0.0.1 of the host: the same number, or another one. */
export type PublishedPort =
  | number
  | {
      guestPort: number;
      hostPort: number;
    };

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
  type?: "shell" | "python" | "node" | undefined;
  /** `debian:12`, a path or a URL. Default: the setting `image`. */
  image?: string | undefined;
  /** Default: the setting `backend_type`. */
  backend?: string | undefined;
  /** libvirt connection, for the libvirt backend alone. Default: the setting `libvirt.uri`. */
  uri?: string | undefined;
  cpus?: number | undefined;
  /** Bytes. */
  memoryBytes?: number | undefined;
  /** Bytes of the guest's disk. Default: the image's own size. */
  diskBytes?: number | undefined;
  /** CPUs and memory by name. */
  sizeClass?: "micro" | "mini" | "small" | "medium" | "large" | undefined;
  mounts?: readonly Mount[] | undefined;
  /** How long it lives; `null`: for ever, whatever the settings say. */
  ttlSeconds?: number | null | undefined;
  /** What it is for, in words. */
  description?: string | undefined;
  /** Shell command line that runs in the background once the sandbox is ready. */
  startCommand?: string | undefined;
  /** Default: `/workspace`. */
  workingDirectory?: string | undefined;
  openPorts?: readonly PublishedPort[] | undefined;
  env?: Readonly<Record<string, string>> | undefined;
  /** Shell command lines, run in order before the sandbox is ready. */
  setupHooks?: readonly string[] | undefined;
  needsNetwork?: boolean | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  /**
   * `false`: its machine boots, also where it could be a clone of a template, or one of the warm pool.
   * Default: `true`.
   */
  clone?: boolean | undefined;
}

/** A sandbox as the daemon described it. */
export interface SandboxInfo {
  id: string;
  name: string;
  slug: string;
  status: "provisioning" | "running" | "paused" | "stopped" | "failed" | "unknown";
  type: "shell" | "python" | "node";
  /** As it was asked for; `null` where the backend needs none. */
  image: string | null;
  backend: string;
  /** libvirt connection, for the libvirt backend alone. */
  uri?: string | undefined;
  cpus: number;
  /** Bytes. */
  memoryBytes: number;
  /** Bytes; `null`: the image's own size. */
  diskBytes: number | null;
  mounts: Mount[];
  workingDirectory: string;
  /** What it is for, in words. */
  description?: string | undefined;
  /** Shell command line that runs in the background once the sandbox is ready. */
  startCommand?: string | undefined;
  env: Record<string, string>;
  needsNetwork: boolean;
  /** `null`: for ever. */
  ttlSeconds: number | null;
  createdAt: Date;
  startedAt: Date | null;
  expiresAt: Date | null;
  /** Since the last start; `null` when not running. */
  uptimeSeconds: number | null;
  /**
   * Per cent of its CPUs since the last look; `null` when not known, and when nobody asked for it (`stats`).
   */
  cpuUsage: number | null;
  /** Bytes used in the guest, as the guest tells; `null` as the use of CPUs is. */
  memoryUsageBytes: number | null;
  /** `null` as the use of CPUs is, and where its machine is off, on another host, or another user's. */
  hostMemory: HostMemory | null;
  openPorts: PublishedPort[];
  labels: Record<string, string>;
  /** What the user should know: software emulation, rounded sizes, … */
  warnings: string[];
  /** How the machine came up: as a clone of a template, or by a boot; absent where neither is meant. */
  startMode?: "cloned" | "booted" | undefined;
  /** Why it had to boot, where that is worth knowing. */
  startReason?: string | undefined;
  errorMessage?: string | undefined;
}

/** The names that there are, for callers whose types nobody checks. */
export const optionNames = {
  create: [
    "name",
    "slug",
    "type",
    "image",
    "backend",
    "uri",
    "cpus",
    "memoryBytes",
    "diskBytes",
    "sizeClass",
    "mounts",
    "ttlSeconds",
    "description",
    "startCommand",
    "workingDirectory",
    "openPorts",
    "env",
    "setupHooks",
    "needsNetwork",
    "labels",
    "clone",
  ],
  mount: ["hostPath", "sandboxPath", "readOnly"],
  port: ["guestPort", "hostPort"],
} as const;
