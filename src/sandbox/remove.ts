/** Removes a sandbox and everything of it. */
import type { Backend } from "../backends/backend.ts";
import { sandboxPaths } from "../config/paths.ts";
import { HeyvmError, shellQuoted, toHeyvmError } from "../errors/index.ts";
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

/** Its machine and disk may be there still, and nobody can be asked to remove them. */
export class RemovalPendingError extends HeyvmError {
  constructor({ id, spec }: SandboxRecord, folder: string, cause: unknown) {
    const { message, hint } = toHeyvmError(cause);
    super(
      "backend_unavailable",
      `sandbox ${spec.name} cannot be removed yet, and heyvm goes on trying: ${message}`,
      {
        cause,
        // The record goes without the daemon that knows it. Should the machine come to light again, it is nobody's, and removed.
        hint:
          `${hint ?? "heyvm doctor"}; if ${spec.backend} is gone for good, end the daemon and forget the sandbox: ` +
          `kill ${process.pid} && rm -r ${shellQuoted(folder)}`,
        details: { id, backend: spec.backend, uri: spec.uri, folder },
      },
    );
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
      const reason = new SandboxRemovedError(sandbox.record);
      await sandbox.session.end(reason);
      await disconnect(sandbox, reason);
      // Where that cannot be written it is removed all the same: a full disk is a reason to remove it.
      if (!sandbox.damaged) await note(context, sandbox, { removing: true });
      try {
        await destroyMachine(context, sandbox, signal);
        await context.records.remove(id);
      } catch (error) {
        context.deadlines.armRetry(id);
        const isAway = error instanceof HeyvmError && error.code === "backend_unavailable";
        throw isAway ? pending(context, sandbox, error) : error;
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

function pending(context: SandboxContext, { record }: LiveSandbox, cause: unknown): RemovalPendingError {
  return new RemovalPendingError(record, sandboxPaths(context.state, record.id).folder, cause);
}

/** Nobody knows which backend a sandbox with a damaged record had, so all are asked. */
async function destroyMachine(
  context: SandboxContext,
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<void> {
  const { id } = sandbox.record;
  if (!sandbox.damaged) {
    let backend: Backend;
    try {
      backend = await backendOf(context, sandbox);
    } catch (error) {
      // Whatever is wrong with it, the caller has named no backend.
      throw pending(context, sandbox, error);
    }
    await backend.destroy(id, signal);
    return;
  }
  for (const { backend } of context.backends.opened()) {
    const { available } = await backend.availability(signal);
    if (available) await backend.destroy(id, signal);
  }
}
