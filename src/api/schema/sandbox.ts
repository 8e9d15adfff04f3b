import { z } from "@hono/zod-openapi";

import { sandboxTypes, sizeClasses } from "../../config/machine-kinds.ts";

export const sandboxStatuses = ["provisioning", "running", "paused", "stopped", "failed", "unknown"] as const;

export const sandboxTypeSchema = z.enum(sandboxTypes);
export const sandboxStatusSchema = z.enum(sandboxStatuses);
export const sizeClassSchema = z.enum(sizeClasses);

const environmentSchema = z.record(z.string(), z.string());
const portNumberSchema = z.int().min(1).max(65_535);

/** A host folder that the guest sees at `sandbox_path`. */
export const mountSchema = z
  .strictObject({
    host_path: z.string().min(1),
    sandbox_path: z.string().min(1),
    read_only: z.boolean().default(false),
  })
  .openapi("Mount");

/** A guest port, published on 127.0.0.1 of the host: the same number, or `host_port`. */
export const openPortSchema = z
  .union([portNumberSchema, z.strictObject({ guest_port: portNumberSchema, host_port: portNumberSchema })])
  .openapi("OpenPort");

/** `POST /sandboxes`. All is optional: what is absent comes from the daemon's settings. */
export const createSandboxSchema = z
  .strictObject({
    name: z.string().optional(),
    slug: z.string().optional(),
    sandbox_type: sandboxTypeSchema.optional(),
    image: z.string().min(1).optional(),
    backend_type: z.string().min(1).optional(),
    /** libvirt connection, for the libvirt backend alone. */
    uri: z.string().min(1).optional(),
    cpus: z.number().optional(),
    /** Bytes. */
    memory: z.number().optional(),
    /** Bytes of the guest's disk; absent: the image's own size. */
    disk: z.number().optional(),
    size_class: sizeClassSchema.optional(),
    mounts: z.array(mountSchema).max(32).optional(),
    /** `null`: never, whatever the settings say. */
    ttl_seconds: z.int().min(1).max(31_536_000).nullable().optional(),
    start_command: z.string().min(1).max(65_536).optional(),
    working_directory: z.string().min(1).optional(),
    open_ports: z.array(openPortSchema).max(64).optional(),
    env_vars: environmentSchema.optional(),
    setup_hooks: z.array(z.string().min(1).max(65_536)).max(64).optional(),
    needs_network: z.boolean().optional(),
    labels: environmentSchema.optional(),
    /** `false`: the machine boots, also where it could be a clone of a template, or one of the warm pool. */
    clone: z.boolean().optional(),
  })
  .openapi("CreateSandbox");

/** A sandbox as every answer shows it. */
export const sandboxSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    slug: z.string(),
    status: sandboxStatusSchema,
    sandbox_type: sandboxTypeSchema,
    /** As it was asked for; `null` where the backend needs none. */
    image: z.string().nullable(),
    backend_type: z.string(),
    /** libvirt connection, for the libvirt backend alone. */
    uri: z.string().optional(),
    cpus: z.number(),
    /** Bytes. */
    memory: z.number(),
    /** Bytes; `null`: the image's own size. */
    disk: z.number().nullable(),
    mounts: z.array(mountSchema),
    working_directory: z.string(),
    start_command: z.string().optional(),
    env_vars: environmentSchema,
    needs_network: z.boolean(),
    ttl_seconds: z.number().nullable(),
    /** ISO 8601. */
    created_at: z.string(),
    started_at: z.string().nullable(),
    expires_at: z.string().nullable(),
    /** Since the last start; `null` when not running. */
    uptime_secs: z.number().nullable(),
    /** Per cent of the sandbox's CPUs since the last look; `null` when not known, and when nobody asked for it (`stats=true`). */
    cpu_usage: z.number().nullable(),
    /** Bytes used in the guest, as the guest tells; `null` as `cpu_usage` is. */
    memory_usage: z.number().nullable(),
    /**
     * What its machine takes of this host's memory, in bytes: `private` would be free if it ended, `proportional` has its
     * share of what it has in common with others (PSS). `null` as `cpu_usage` is.
     */
    host_memory: z.object({ private: z.number(), proportional: z.number() }).nullable(),
    guest_ip: z.string().optional(),
    open_ports: z.array(openPortSchema),
    labels: environmentSchema,
    /** What the user should know: software emulation, rounded sizes, … */
    warnings: z.array(z.string()),
    /** How the machine came up: `cloned` from a template in a moment, or `booted`; absent where neither is meant. */
    start_mode: z.enum(["cloned", "booted"]).optional(),
    /** Why it had to boot, where that is worth knowing. */
    start_reason: z.string().optional(),
    error_message: z.string().optional(),
  })
  .openapi("Sandbox");

export const sandboxListSchema = z.array(sandboxSchema).openapi("SandboxList");

export const inactiveSandboxesSchema = z
  .object({
    sandboxes: z.array(sandboxSchema),
    cursor: z.string().nullable(),
    next_cursor: z.string().nullable(),
  })
  .openapi("InactiveSandboxes");

/** `POST /sandboxes/:id/stop` and `/restart`; an empty body is fine. */
export const stopSandboxSchema = z
  .strictObject({
    /** How long the guest may take to power off by itself before it is cut. */
    grace_seconds: z.number().min(0).max(600).optional(),
  })
  .openapi("StopSandbox");

/** `GET /sandboxes/:id/stats`: as the guest tells, so not to be trusted. */
export const statisticsSchema = z
  .object({
    uptime_secs: z.number(),
    load_average: z.array(z.number()),
    cpu_seconds: z.number(),
    cpu_usage: z.number().nullable(),
    memory_total: z.number(),
    memory_usage: z.number(),
    disk_total: z.number(),
    disk_usage: z.number(),
    processes: z.number(),
  })
  .openapi("Statistics");

export const logEntrySchema = z
  .object({
    timestamp: z.string(),
    source: z.enum(["stdout", "stderr", "console"]),
    level: z.string().optional(),
    message: z.string(),
  })
  .openapi("LogEntry");

export const logsSchema = z.object({ logs: z.array(logEntrySchema), total: z.number() }).openapi("Logs");

/** `DELETE /sandboxes/:id`. */
export const removedSchema = z
  .object({
    id: z.string(),
    removed: z.literal(true),
    /** Its backend could not be asked, and may still have its machine. */
    forgotten: z.literal(true).optional(),
  })
  .openapi("Removed");

export type SandboxStatus = z.infer<typeof sandboxStatusSchema>;
export type MountInput = z.input<typeof mountSchema>;
export type Mount = z.infer<typeof mountSchema>;
export type OpenPort = z.infer<typeof openPortSchema>;
export type CreateSandboxInput = z.input<typeof createSandboxSchema>;
export type CreateSandboxRequest = z.infer<typeof createSandboxSchema>;
export type Sandbox = z.infer<typeof sandboxSchema>;
export type InactiveSandboxes = z.infer<typeof inactiveSandboxesSchema>;
export type StopSandboxRequest = z.infer<typeof stopSandboxSchema>;
export type Statistics = z.infer<typeof statisticsSchema>;
export type LogEntry = z.infer<typeof logEntrySchema>;
export type Logs = z.infer<typeof logsSchema>;
export type Removed = z.infer<typeof removedSchema>;
