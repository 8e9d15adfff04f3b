/** The sandbox model, as the API uses it. */
export { type BackendRegistry, type OpenableBackend } from "./backend-registry.ts";
export type { Log, SandboxContext } from "./context.ts";
export { createSandbox } from "./create.ts";
export { type CommandRequest, execInSandbox, openShell } from "./exec.ts";
export { filesOf } from "./files.ts";
export { cutLines } from "./cut-lines.ts";
export { consoleLines, followStartCommand, linesOf, type LogLine, readLogs } from "./logs.ts";
export { collectOutput } from "./output.ts";
export { pauseSandbox, resumeSandbox } from "./pause.ts";
export { type Progress, silentProgress } from "./progress.ts";
export { askImageUse } from "./image-use.ts";
export { prune } from "./prune.ts";
export { findSandbox } from "./reconcile.ts";
export { type LiveSandbox } from "./registry.ts";
export { removeSandbox } from "./remove.ts";
export { type OpenSandboxes, openSandboxes, type SandboxesOptions } from "./sandboxes.ts";
export { type CreateRequest, type TemplateBuildRequest } from "./shape.ts";
export { startSandbox } from "./start.ts";
export { killSandbox, restartSandbox, stopSandbox } from "./stop.ts";
export {
  buildTemplate,
  listTemplates,
  pruneTemplates,
  removeTemplate,
  type TemplateView,
} from "./templates.ts";
export { sandboxStatistics, viewSandbox, viewWithUsage } from "./view.ts";
export { fromWire, toWire } from "./wire-names.ts";
