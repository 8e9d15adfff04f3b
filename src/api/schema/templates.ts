import { z } from "@hono/zod-openapi";

import { sandboxTypes } from "../../config/machine-kinds.ts";
import { templateShape } from "../../sandbox/shape.ts";
import { onWire } from "./on-wire.ts";

/** A machine that was booted once and frozen, of which sandboxes are clones. */
export const templateSchema = z
  .object({
    /** 16 hex digits; changes with all that goes into a template. */
    key: z.string(),
    /** The image's name. */
    image: z.string(),
    sandbox_type: z.enum(sandboxTypes),
    backend_type: z.string(),
    /** libvirt connection, for the libvirt backend alone. */
    uri: z.string().optional(),
    cpus: z.number(),
    /** Bytes of a guest's memory. */
    memory: z.number(),
    /** How large sandboxes can be that are cloned from it; absent: just as large as it is. */
    grows_to: z.object({ cpus: z.number(), memory: z.number() }).optional(),
    /** Bytes that it takes of the host's disk. */
    size: z.number(),
    created_at: z.string(),
    last_used_at: z.string(),
    /** Whether a sandbox stands on it, or a machine that waits to become one. */
    in_use: z.boolean(),
  })
  .openapi("Template");

/** `GET /templates`. */
export const templateListSchema = z.array(templateSchema).openapi("TemplateList");

/** `POST /templates`. All is optional: what is absent comes from the daemon's settings, as for a sandbox. */
export const buildTemplateSchema = onWire(templateShape, "BuildTemplate");

/** `DELETE /templates/{key}`. */
export const removedTemplateSchema = z
  .object({ key: z.string(), removed: z.literal(true) })
  .openapi("RemovedTemplate");

export type TemplateAnswer = z.infer<typeof templateSchema>;
export type BuildTemplateRequest = z.infer<typeof buildTemplateSchema>;
export type RemovedTemplate = z.infer<typeof removedTemplateSchema>;
