/** From a record to a machine that is whole or not there at all. */
import { timeoutSignal } from "../core/deadline.ts";
import { inStep } from "../core/step.ts";
import type { AgentSession } from "../agent/types.ts";
import type { Backend, StartedMachine } from "../backends/backend.ts";
import { AbortedError, toHeyvmError } from "../errors/index.ts";
import { change, disconnect, note } from "./changes.ts";
import { refuseRemoved, SandboxRemovedError } from "./remove.ts";
import type { SandboxContext } from "./context.ts";
import { machineSession, machineSpecOf } from "./machine.ts";
import { checkMountsAgain, recordFolders } from "./mounts-again.ts";
import { setUpAfterReboot, setUpOf } from "./guest-reboot.ts";
import type { Progress } from "./progress.ts";
import { recordVersion, type SandboxRecord, type SandboxSpec } from "./record.ts";
import type { LiveSandbox } from "./registry.ts";
import type { Wanted } from "./wanted.ts";

/** Undoing must end, also when the backend hangs. */
const undoTimeoutMs = 120_000;

/** As long as its record says `provisioning`, the next daemon removes what there is of it. */
export function provisioningRecord(
  id: string,
  spec: SandboxSpec,
  warnings: readonly string[],
): SandboxRecord {
  return {
    version: recordVersion,
    id,
    status: "provisioning",
    removing: false,
    spec,
    createdAtMs: Date.now(),
    startedAtMs: null,
    expiresAtMs: null,
    warnings: [...warnings],
  };
}

/** Before anything else of it exists. It is in the registry when this returns its promise. */
export async function enter(
  context: SandboxContext,
  record: SandboxRecord,
  backend: Backend,
  options: { warm: boolean },
): Promise<LiveSandbox> {
  const session = machineSession(
    context,
    record.id,
    async () => await Promise.resolve(backend),
    setUpAfterReboot,
  );
  // Known before its folder exists: a prune that goes on now would take it for a leftover.
  const sandbox = context.registry.add(record, session, options);
  try {
    // Whoever removes it in this moment waits until there is something to remove.
    await sandbox.lock.run("creating the sandbox", async () => await context.records.create(record));
    return sandbox;
  } catch (error) {
    context.registry.delete(record.id);
    throw error;
  }
}

/** Does the work on a sandbox that is made. When it fails or is aborted, nothing is left of the sandbox. */
export async function wholly<T>(
  context: SandboxContext,
  sandbox: LiveSandbox,
  backend: Backend,
  progress: Progress,
  work: (progress: Progress) => Promise<T>,
): Promise<T> {
  const creating = new AbortController();
  sandbox.creating = creating;
  progress.onAccepted?.(sandbox.record.id);
  const signal = AbortSignal.any([progress.signal, creating.signal, context.shutdown]);
  return await sandbox.lock.run("creating the sandbox", async () => {
    // It may have been removed between its record and its turn.
    refuseRemoved(context, sandbox);
    try {
      return await work({ ...progress, signal });
    } catch (error) {
      await undo(context, sandbox, backend, undoTimeoutMs);
      if (creating.signal.aborted) throw creating.signal.reason;
      throw signal.aborted ? new AbortedError(`creating sandbox ${sandbox.record.spec.name}`, error) : error;
    } finally {
      sandbox.creating = undefined;
    }
  });
}

/** The image that it asks for is looked up, and noted. */
export async function findImage(
  context: SandboxContext,
  sandbox: LiveSandbox,
  progress: Progress,
): Promise<void> {
  const { imageReference } = sandbox.record.spec;
  if (imageReference === undefined) return;
  using held = await inStep(
    progress,
    { id: "image", title: `Looking for image ${imageReference}` },
    async () => await context.imageHolds.take(imageReference, progress),
  );
  const { spec, warnings } = sandbox.record;
  const { warning } = held.image;
  if (warning !== undefined) progress.onWarning(warning);
  // Written with the next change: a record that says `provisioning` is removed by the next daemon, whatever its image was.
  sandbox.record = {
    ...sandbox.record,
    spec: { ...spec, image: held.image },
    warnings: [...warnings, ...(warning === undefined ? [] : [warning])],
  };
}

/** The machine of a sandbox whose image was found, started. */
export async function makeMachine(
  context: SandboxContext,
  sandbox: LiveSandbox,
  { backend, boot }: Pick<Wanted, "backend" | "boot">,
  progress: Progress,
): Promise<StartedMachine> {
  // The image and what the backend prepares of it may have taken minutes.
  const lastLook = async (): Promise<void> => {
    await recordFolders(context, sandbox);
    await checkMountsAgain(context, sandbox, progress.signal);
  };
  const started = await inStep(
    progress,
    { id: "create", title: `Creating the machine (${backend.name})` },
    async () => await backend.create(machineSpecOf(sandbox.record), { ...progress, lastLook, boot }),
  );
  for (const warning of started.warnings) progress.onWarning(warning);
  return started;
}

/** From now on it outlives the daemon, and its time runs. */
export async function enterService(
  context: SandboxContext,
  sandbox: LiveSandbox,
  agent: AgentSession,
  { start, warnings, guestMounts }: StartedMachine,
): Promise<void> {
  const { spec, id, warnings: earlier } = sandbox.record;
  const nowMs = Date.now();
  const expiresAtMs = spec.ttlSeconds === null ? null : nowMs + spec.ttlSeconds * 1000;
  await change(context, sandbox, {
    status: "running",
    startedAtMs: nowMs,
    expiresAtMs,
    start,
    setUp: setUpOf(agent, guestMounts),
    warnings: [...earlier, ...warnings],
  });
  if (expiresAtMs !== null) context.deadlines.arm(id, expiresAtMs);
}

/** Removes what there is of it. Never fails: what cannot be removed stays in sight. */
export async function undo(
  context: SandboxContext,
  sandbox: LiveSandbox,
  backend: Backend,
  timeoutMs: number,
): Promise<void> {
  const { id } = sandbox.record;
  try {
    await disconnect(sandbox, new SandboxRemovedError(sandbox.record));
    await backend.destroy(id, timeoutSignal(timeoutMs));
    await context.records.remove(id);
    context.registry.delete(id);
  } catch (error) {
    const reason = toHeyvmError(error).message;
    context.log.error({ id, reason }, "a failed create could not be undone");
    // Kept in sight, so that it can be removed later: now by the user, or at the daemon's next start.
    sandbox.warm = false;
    const errorMessage = `its create failed and what was made could not be removed: ${reason}`;
    await note(context, sandbox, { status: "failed", removing: true, errorMessage });
    context.deadlines.armRetry(id);
  }
}
