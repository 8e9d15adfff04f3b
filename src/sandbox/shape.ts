/**
 * What a sandbox is, field by field, and what a create may say of it. The names on the wire (`wire-names.ts`), the API's schemas
 * and its OpenAPI document, the record on disk and the SDK's types are derived from here.
 */
import { z } from "zod";

import { sandboxTypes, sizeClasses } from "../config/machine-kinds.ts";

const textMap = z.record(z.string(), z.string());
const portNumber = z.int().min(1).max(65_535);

/** A host folder that the guest sees at `sandboxPath`. */
export const mountShape = z.strictObject({
  hostPath: z.string().min(1),
  sandboxPath: z.string().min(1),
  readOnly: z.boolean().default(false),
});

/** A guest port, published on 127.0.0.1 of the host: the same number, or `hostPort`. */
export const openPortShape = z.union([
  portNumber,
  z.strictObject({ guestPort: portNumber, hostPort: portNumber }),
]);

/** All is optional: what is absent comes from the daemon's settings. */
export const createShape = z.strictObject({
  /** Default: made up. */
  name: z.string().optional(),
  /** Default: made of the name. */
  slug: z.string().optional(),
  /** Default: `shell`. */
  type: z.enum(sandboxTypes).optional(),
  /** `debian:12`, a path or a URL. Default: the setting `image`. */
  image: z.string().min(1).optional(),
  /** Default: the setting `backend_type`. */
  backend: z.string().min(1).optional(),
  /** libvirt connection, for the libvirt backend alone. Default: the setting `libvirt.uri`. */
  uri: z.string().min(1).optional(),
  cpus: z.number().optional(),
  memoryBytes: z.number().optional(),
  /** Of the guest's disk. Default: the image's own size. */
  diskBytes: z.number().optional(),
  sizeClass: z.enum(sizeClasses).optional(),
  mounts: z.array(mountShape).max(32).optional(),
  /** `null`: never, whatever the settings say. */
  ttlSeconds: z.int().min(1).max(31_536_000).nullable().optional(),
  startCommand: z.string().min(1).max(65_536).optional(),
  /** Default: `/workspace`. */
  workingDirectory: z.string().min(1).optional(),
  openPorts: z.array(openPortShape).max(64).optional(),
  env: textMap.optional(),
  /** Shell command lines, run in order before the sandbox is ready. */
  setupHooks: z.array(z.string().min(1).max(65_536)).max(64).optional(),
  needsNetwork: z.boolean().optional(),
  labels: textMap.optional(),
  /** `false`: its machine boots, also where it could be a clone of a template, or one of the warm pool. Default: `true`. */
  clone: z.boolean().optional(),
});

/** What a template is for. */
export const templateShape = createShape.pick({
  image: true,
  type: true,
  backend: true,
  uri: true,
  cpus: true,
  memoryBytes: true,
  sizeClass: true,
});

export const sandboxStatuses = ["provisioning", "running", "paused", "stopped", "failed", "unknown"] as const;

/** A sandbox as every answer shows it. */
export const sandboxShape = z.object({
  id: z.string(),
  name: z.string(),
  slug: z.string(),
  status: z.enum(sandboxStatuses),
  type: z.enum(sandboxTypes),
  /** As it was asked for; `null` where the backend needs none. */
  image: z.string().nullable(),
  backend: z.string(),
  /** libvirt connection, for the libvirt backend alone. */
  uri: z.string().optional(),
  cpus: z.number(),
  memoryBytes: z.number(),
  /** `null`: the image's own size. */
  diskBytes: z.number().nullable(),
  mounts: z.array(mountShape),
  workingDirectory: z.string(),
  startCommand: z.string().optional(),
  env: textMap,
  needsNetwork: z.boolean(),
  ttlSeconds: z.number().nullable(),
  /** ISO 8601. */
  createdAt: z.string(),
  startedAt: z.string().nullable(),
  expiresAt: z.string().nullable(),
  /** Since the last start; `null` when not running. */
  uptimeSeconds: z.number().nullable(),
  /** Per cent of the sandbox's CPUs since the last look; `null` when not known, and when nobody asked for it (`stats=true`). */
  cpuUsage: z.number().nullable(),
  /** Bytes used in the guest, as the guest tells; `null` as `cpuUsage` is. */
  memoryUsageBytes: z.number().nullable(),
  /**
   * What its machine takes of its host's memory; clones share their template's. `null` as `cpuUsage` is, and where it is off,
   * on another host, or another user's.
   */
  hostMemory: z
    .object({
      /** What would be free if it ended. */
      privateBytes: z.number(),
      /** With its share of what it has in common with others (PSS). */
      proportionalBytes: z.number(),
    })
    .nullable(),
  guestIp: z.string().optional(),
  openPorts: z.array(openPortShape),
  labels: textMap,
  /** What the user should know: software emulation, rounded sizes, … */
  warnings: z.array(z.string()),
  /** How the machine came up: `cloned` from a template in a moment, or `booted`; absent where neither is meant. */
  startMode: z.enum(["cloned", "booted"]).optional(),
  /** Why it had to boot, where that is worth knowing. */
  startReason: z.string().optional(),
  errorMessage: z.string().optional(),
});

export type CreateRequest = z.infer<typeof createShape>;
export type TemplateBuildRequest = z.infer<typeof templateShape>;
export type SandboxStatus = SandboxDescription["status"];
export type SandboxDescription = z.infer<typeof sandboxShape>;
