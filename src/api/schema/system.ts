import { z } from "@hono/zod-openapi";

/** `GET /health`. Over TCP, who has no token is told the status alone. */
export const healthSchema = z
  .object({
    status: z.literal("ok"),
    version: z.string(),
    /** Names the content of what runs; absent when it was never built. */
    build: z.string().optional(),
    pid: z.number(),
    started_at: z.string(),
    /** The state folder that this daemon owns. */
    data_dir: z.string(),
    /** It was started by a client that needed it, and another may replace it. */
    on_demand: z.boolean(),
    /** Requests and streams that are under way, beside this one. */
    active_requests: z.int(),
    /** Why the daemon has begun anew, when it has: an error that nobody foresaw. */
    restart_reason: z.string().optional(),
  })
  .openapi("Health");

/** One entry of `GET /backends`. */
export const backendSchema = z
  .object({
    name: z.string(),
    description: z.string(),
    available: z.boolean(),
    default: z.boolean(),
    uses_images: z.boolean(),
    pausable: z.boolean(),
    reason: z.string().optional(),
    hint: z.string().optional(),
    /** The warm pool, of the backend that has one: how many machines wait, and how many should. */
    pool: z.object({ ready: z.number(), size: z.number() }).optional(),
  })
  .openapi("Backend");

export const backendListSchema = z.array(backendSchema).openapi("BackendList");

export const doctorCheckSchema = z
  .object({
    id: z.string(),
    title: z.string(),
    verdict: z.enum(["ok", "warning", "failure"]),
    message: z.string(),
    /** The one command that mends it, by family of package manager; `any` where they don't differ. */
    remedy: z
      .object({
        debian: z.string().optional(),
        fedora: z.string().optional(),
        arch: z.string().optional(),
        any: z.string().optional(),
      })
      .optional(),
    fixable: z.boolean(),
    backend: z.string(),
  })
  .openapi("DoctorCheck");

/** `GET /doctor?backend=`. */
export const doctorSchema = z
  .object({
    verdict: z.enum(["ok", "warning", "failure"]),
    checks: z.array(doctorCheckSchema),
  })
  .openapi("Doctor");

export const settingEntrySchema = z
  .object({
    key: z.string(),
    value: z.unknown(),
    source: z.enum(["flag", "environment", "file", "default"]),
    origin: z.string().optional(),
    description: z.string(),
  })
  .openapi("Setting");

/** `GET /config`: the settings in force in the daemon. */
export const configSchema = z
  .object({ path: z.string(), settings: z.array(settingEntrySchema) })
  .openapi("Config");

/** The daemon's `daemon.json`. */
export const daemonInfoSchema = z.object({
  pid: z.int().positive(),
  socket_path: z.string(),
  version: z.string(),
  started_at: z.string(),
  /** Where the TCP listener is, when there is one. */
  url: z.string().optional(),
  /** Why the daemon has begun anew, when it has. */
  restart_reason: z.string().optional(),
});

export type Health = z.infer<typeof healthSchema>;
export type BackendAnswer = z.infer<typeof backendSchema>;
export type DoctorCheckAnswer = z.infer<typeof doctorCheckSchema>;
export type Doctor = z.infer<typeof doctorSchema>;
export type SettingAnswer = z.infer<typeof settingEntrySchema>;
export type Config = z.infer<typeof configSchema>;
export type DaemonInfo = z.infer<typeof daemonInfoSchema>;
