import { z } from "@hono/zod-openapi";

import type { ImageAnswer } from "./images.ts";
import type { Sandbox } from "./sandbox.ts";
import type { TemplateAnswer } from "./templates.ts";

/** RFC 9457 problem document; `error` repeats the message for clients that read only that. */
export const problemSchema = z
  .object({
    /** Always `about:blank` but in streams, where it is the message's own type, `error`. */
    type: z.string(),
    title: z.string(),
    status: z.number(),
    detail: z.string(),
    error: z.string(),
    code: z.string(),
    retryable: z.boolean(),
    hint: z.string().optional(),
    details: z.record(z.string(), z.unknown()).optional(),
    request_id: z.string(),
  })
  .openapi("Problem");

/** A line of an answer with `Accept: application/x-ndjson`: a long step begins, goes on or is done. */
export const stepEventSchema = z
  .object({
    type: z.literal("step"),
    id: z.string(),
    title: z.string(),
    state: z.enum(["started", "progress", "done"]),
    done_bytes: z.number().optional(),
    total_bytes: z.number().optional(),
    log_path: z.string().optional(),
    /** Since the whole work began. */
    elapsed_ms: z.number(),
  })
  .openapi("StepEvent");

export const warningEventSchema = z
  .object({ type: z.literal("warning"), message: z.string() })
  .openapi("WarningEvent");

/** Says early in a create which id the sandbox will have: removing it then ends the create and waits for its undo. */
export const acceptedEventSchema = z
  .object({ type: z.literal("accepted"), id: z.string() })
  .openapi("AcceptedEvent");

export type AcceptedEvent = z.infer<typeof acceptedEventSchema>;
export type Problem = z.infer<typeof problemSchema>;
export type StepEvent = z.infer<typeof stepEventSchema>;
export type WarningEvent = z.infer<typeof warningEventSchema>;
export type ErrorEvent = Omit<Problem, "type"> & { type: "error" };

/** Lines of create, start and restart with `Accept: application/x-ndjson`; `sandbox` or `error` is the last. */
export type SandboxProgress =
  | AcceptedEvent
  | StepEvent
  | WarningEvent
  | ErrorEvent
  | (Sandbox & { type: "sandbox" });

/** Lines of an image pull or add; `image` or `error` is the last. */
export type ImageProgress = StepEvent | WarningEvent | ErrorEvent | (ImageAnswer & { type: "image" });

/** Lines of the making of a template; `template` or `error` is the last. */
export type TemplateProgress =
  | StepEvent
  | WarningEvent
  | ErrorEvent
  | (TemplateAnswer & { type: "template" });
