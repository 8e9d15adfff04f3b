import { z } from "@hono/zod-openapi";

import { createShape, mountShape, openPortShape, sandboxShape } from "../../sandbox/shape.ts";
import { onWire } from "./on-wire.ts";

// First what the document names where it is inside the others.
onWire(mountShape, "Mount");
export const openPortSchema = onWire(openPortShape, "OpenPort");

/** `POST /sandboxes`. */
export const createSandboxSchema = onWire(createShape, "CreateSandbox");

export const sandboxSchema = onWire(sandboxShape, "Sandbox");

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
    message: z.string(),
  })
  .openapi("LogEntry");

export const logsSchema = z.object({ logs: z.array(logEntrySchema), total: z.number() }).openapi("Logs");

/** `DELETE /sandboxes/:id`. */
export const removedSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    removed: z.literal(true),
    /** Its backend could not be asked, and may still have its machine. */
    forgotten: z.literal(true).optional(),
  })
  .openapi("Removed");

export type { SandboxDescription } from "../../sandbox/shape.ts";
export type OpenPort = z.infer<typeof openPortSchema>;
export type CreateSandboxInput = z.input<typeof createSandboxSchema>;
export type Sandbox = z.infer<typeof sandboxSchema>;
export type InactiveSandboxes = z.infer<typeof inactiveSandboxesSchema>;
export type StopSandboxRequest = z.infer<typeof stopSandboxSchema>;
export type Statistics = z.infer<typeof statisticsSchema>;
export type LogEntry = z.infer<typeof logEntrySchema>;
export type Logs = z.infer<typeof logsSchema>;
export type Removed = z.infer<typeof removedSchema>;
