import type { ImageAnswer } from "./images.ts";
import type { AcceptedEvent, ErrorEvent, StepEvent, WarningEvent } from "./progress.ts";
import type { Sandbox } from "./sandbox.ts";
import type { TemplateAnswer } from "./templates.ts";

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
