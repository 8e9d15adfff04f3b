/** Removes a sandbox and everything of it. */
import { HeyvmError } from "../errors/index.ts";
import { disconnect, note } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { backendOf } from "./machine.ts";
import type { SandboxRecord } from "./record.ts";
import type { LiveSandbox } from "./registry.ts";

/** A removal of it has begun, and may have failed. */
export class SandboxRemovedError extends HeyvmError {
  constructor({ id, spec }: SandboxRecord) {
    super("wrong_state", `sandbox ${spec.name} is being removed`, { hint: `heyvm rm ${id}` });
  }
}

/**
 * Idempotent. A create that is under way is ended first. Once begun, a removal is finished: when it fails or nobody waits for
 * it any more, it is tried again later, if need be by the next daemon.
 */
export async function removeSandbox(
  context: SandboxContext,
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<void> {
  const { id } = sandbox.record;
  sandbox.creating?.abort(new SandboxRemovedError(sandbox.record));
  await sandbox.lock.run(
    "removing the sandbox",
    async () => {
      if (context.registry.find(id) !== sandbox) return;
      context.deadlines.disarm(id);
      // A list that is looking at it now would connect again, to a machine that nobody sees the end of.
      await sandbox.session.end(new SandboxRemovedError(sandbox.record));
      await disconnect(sandbox);
      // Where that cannot be written it is removed all the same: a full disk is a reason to remove it.
      if (!sandbox.damaged) await note(context, sandbox, { removing: true });
      try {
        await destroyMachine(context, sandbox, signal);
        await context.records.remove(id);
      } catch (error) {
        context.deadlines.armRetry(id);
        throw error;
      }
      context.registry.delete(id);
      context.log.info({ id }, "sandbox removed");
    },
    signal,
  );
}

/** What begins in a sandbox has no end when that is about to go. The caller holds the lock. */
export function refuseRemoved(context: SandboxContext, sandbox: LiveSandbox): void {
  const { record } = sandbox;
  if (record.removing || context.registry.find(record.id) !== sandbox) throw new SandboxRemovedError(record);
}

/** Nobody knows which backend a sandbox with a damaged record had, so all are asked. */
async function destroyMachine(
  context: SandboxContext,
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<void> {
  const { id } = sandbox.record;
  if (!sandbox.damaged) {
    await (await backendOf(context, sandbox)).destroy(id, signal);
    return;
  }
  for (const { backend } of context.backends.opened()) {
    const { available } = await backend.availability(signal);
    if (available) await backend.destroy(id, signal);
  }
}
