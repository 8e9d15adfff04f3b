/** Files inside a sandbox. */
import type { AgentFiles } from "../agent/types.ts";
import { type LiveSandbox, standingOf } from "./registry.ts";
import { needsTransition } from "./states.ts";

/** The files of a running sandbox. */
export async function filesOf(sandbox: LiveSandbox, signal: AbortSignal): Promise<AgentFiles> {
  needsTransition(standingOf(sandbox), "use");
  return (await sandbox.session.get(signal)).files;
}
