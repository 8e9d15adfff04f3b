/**
 * From a record to a guest that is ready for what it is wanted for. A clone whose guest does not get so far is made again,
 * and boots: no create fails because of a template.
 */
import { timeoutSignal } from "../core/deadline.ts";
import type { AgentSession } from "../agent/types.ts";
import type { StartedMachine } from "../backends/backend.ts";
import { type ErrorCode, firstLine, toHeyvmError } from "../errors/index.ts";
import { disconnect } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { awaitNetwork, prepareGuest } from "./guest-setup.ts";
import { findImage, makeMachine } from "./making.ts";
import type { Progress } from "./progress.ts";
import type { LiveSandbox } from "./registry.ts";
import type { Wanted } from "./wanted.ts";

export interface ReadyMachine {
  started: StartedMachine;
  agent: AgentSession;
}

/** A clone is ready in a second, an emulated one on a host that has much else to do in ten. */
const cloneTimeoutMs = 180_000;
const removeTimeoutMs = 60_000;

/** What a guest that boots may do better; whatever else is wrong, is wrong with it, too. */
const mayBeTheClone: ReadonlySet<ErrorCode> = new Set([
  "guest_unresponsive",
  "guest_failed",
  "backend_failed",
  "timeout",
  // A device that was plugged in and never came.
  "path_not_found",
]);

/** `cloneMs`: how long a clone may take; for tests. */
export async function makeReadyMachine(
  context: SandboxContext,
  sandbox: LiveSandbox,
  wanted: Pick<Wanted, "backend" | "boot">,
  progress: Progress,
  cloneMs = cloneTimeoutMs,
): Promise<ReadyMachine> {
  await findImage(context, sandbox, progress);
  const started = await makeMachine(context, sandbox, wanted, progress);
  if (started.clone === undefined) return await makeReady(context, sandbox, started, progress);
  const late = timeoutSignal(cloneMs);
  const soon = { ...progress, signal: AbortSignal.any([progress.signal, late]) };
  try {
    const agent = await prepareGuest(context, sandbox, started, soon, true);
    await started.clone.works();
    // A network may take its time, as it does for a machine that boots.
    await awaitNetwork(sandbox, agent, progress);
    return { started, agent };
  } catch (error) {
    if (progress.signal.aborted) throw error;
    if (!late.aborted && !mayBeTheClone.has(toHeyvmError(error).code)) throw error;
    const why = late.aborted ? `it took longer than ${cloneMs / 1000} s` : firstLine(error);
    const reason = `a clone of its template did not get ready: ${why}`;
    context.log.warn({ id: sandbox.record.id, reason }, "a clone is made again, and boots");
    await disconnect(sandbox, toHeyvmError(error));
    await wanted.backend.destroy(sandbox.record.id, timeoutSignal(removeTimeoutMs));
    sandbox.hasAnswered = false;
    const told = new Set(started.warnings);
    const onWarning = (warning: string): void => {
      if (!told.has(warning)) progress.onWarning(warning);
    };
    const again = { ...progress, onWarning };
    const booted = await makeMachine(context, sandbox, { ...wanted, boot: reason }, again);
    await started.clone.fails(reason);
    return await makeReady(context, sandbox, booted, again);
  }
}

async function makeReady(
  context: SandboxContext,
  sandbox: LiveSandbox,
  started: StartedMachine,
  progress: Progress,
): Promise<ReadyMachine> {
  const agent = await prepareGuest(context, sandbox, started, progress, true);
  await awaitNetwork(sandbox, agent, progress);
  return { started, agent };
}
