/** Starts a stopped sandbox again. */
import { timeoutSignal } from "../core/deadline.ts";
import { inStep } from "../core/step.ts";
import { change, disconnect, note } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { setUpOf, withoutRebootWarnings } from "./guest-reboot.ts";
import { awaitNetwork, prepareGuest, putToUse } from "./guest-setup.ts";
import { backendOf, machineSpecOf } from "./machine.ts";
import { checkMountsAgain, recordFolders } from "./mounts-again.ts";
import type { Progress } from "./progress.ts";
import { refuseRemoved } from "./remove.ts";
import { type LiveSandbox, standingOf } from "./registry.ts";
import { needsTransition } from "./states.ts";
import { messageOf, toHeyvmError } from "../errors/index.ts";

const stopTimeoutMs = 60_000;

/** A running sandbox is a success. When the start fails or is aborted, the sandbox is stopped again. */
export async function startSandbox(
  context: SandboxContext,
  sandbox: LiveSandbox,
  progress: Progress,
): Promise<void> {
  const whole = { ...progress, signal: AbortSignal.any([progress.signal, context.shutdown]) };
  await sandbox.lock.run(
    "starting the sandbox",
    async () => {
      refuseRemoved(context, sandbox);
      if (!needsTransition(standingOf(sandbox), "start")) return;
      await startMachine(context, sandbox, whole);
    },
    whole.signal,
  );
}

/** The caller holds the lock and knows that there is something to start. */
export async function startMachine(
  context: SandboxContext,
  sandbox: LiveSandbox,
  progress: Progress,
): Promise<void> {
  // At once: who starts at the same time has to see it.
  sandbox.starting = true;
  try {
    await checkMountsAgain(context, sandbox, progress.signal);
    for (const warning of await recordFolders(context, sandbox)) progress.onWarning(warning);
    await startChecked(context, sandbox, progress);
  } finally {
    sandbox.starting = false;
  }
}

async function startChecked(
  context: SandboxContext,
  sandbox: LiveSandbox,
  progress: Progress,
): Promise<void> {
  const { id } = sandbox.record;
  const backend = await backendOf(context, sandbox);
  await change(context, sandbox, { starting: true });
  try {
    const started = await inStep(
      progress,
      { id: "start", title: `Starting the machine (${backend.name})` },
      async () => await backend.start(machineSpecOf(sandbox.record), progress),
    );
    for (const warning of started.warnings) progress.onWarning(warning);
    const agent = await prepareGuest(context, sandbox, started, progress, false);
    await awaitNetwork(sandbox, agent, progress);
    await putToUse(sandbox, agent, progress, false);
    progress.signal.throwIfAborted();
    await change(context, sandbox, {
      status: "running",
      starting: undefined,
      startedAtMs: Date.now(),
      errorMessage: undefined,
      start: started.start,
      setUp: setUpOf(agent, started.guestMounts),
      warnings: withoutRebootWarnings(sandbox.record.warnings),
    });
  } catch (error) {
    await disconnect(sandbox, toHeyvmError(error));
    const reason = await backend.stop(id, timeoutSignal(stopTimeoutMs)).then(() => undefined, messageOf);
    if (reason === undefined) {
      await note(context, sandbox, { status: "stopped", starting: undefined, startedAtMs: null });
    } else {
      context.log.error({ id, reason }, "a machine whose start failed could not be stopped");
      const errorMessage = `its start failed, and its machine could not be stopped: ${reason}`;
      await note(context, sandbox, { status: "failed", startedAtMs: null, errorMessage });
    }
    throw error;
  }
}
