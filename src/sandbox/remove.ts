/** Removes a sandbox and everything of it. */
import { isMountTeller } from "../backends/abilities.ts";
import type { Backend } from "../backends/backend.ts";
import { HeyvmError, toHeyvmError } from "../errors/index.ts";
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
  constructor({ id, spec }: SandboxRecord, cause: unknown, backend = spec.backend) {
    const { message, hint } = toHeyvmError(cause);
    super(
      "backend_unavailable",
      `sandbox ${spec.name} cannot be removed yet, and heyvm goes on trying: ${message}`,
      {
        cause,
        hint: `${hint ?? "heyvm doctor"}; if ${backend} is gone for good: heyvm rm --forget ${id}`,
        details: { id, backend, uri: spec.uri },
      },
    );
  }
}

export interface RemoveOptions {
  signal: AbortSignal;
  /**
   * When its backend cannot be asked, the record goes all the same. Should its machine come to light again, that is nobody's, and
   * is removed by the next daemon or prune.
   */
  forget?: boolean;
}

/**
 * Idempotent. A create that is under way is ended first. Once begun, a removal is finished: when it fails or nobody waits for
 * it any more, it is tried again later, if need be by the next daemon. Returns whether it had to be forgotten.
 */
export async function removeSandbox(
  context: SandboxContext,
  sandbox: LiveSandbox,
  { signal, forget = false }: RemoveOptions,
): Promise<{ forgotten: boolean }> {
  const { id } = sandbox.record;
  sandbox.creating?.abort(new SandboxRemovedError(sandbox.record));
  return await sandbox.lock.run(
    "removing the sandbox",
    async () => {
      let forgotten = false;
      if (context.registry.find(id) !== sandbox) return { forgotten };
      context.deadlines.disarm(id);
      // A list that is looking at it now would connect again, to a machine that nobody sees the end of.
      const reason = new SandboxRemovedError(sandbox.record);
      await sandbox.session.end(reason);
      await disconnect(sandbox, reason);
      // Where that cannot be written it is removed all the same: a full disk is a reason to remove it.
      if (!sandbox.damaged) await note(context, sandbox, { removing: true });
      try {
        await destroyMachine(context, sandbox, signal).catch((error: unknown) => {
          if (!forget || !isAway(error)) throw error;
          forgotten = true;
        });
        await context.records.remove(id);
      } catch (error) {
        context.deadlines.armRetry(id);
        const isTold = error instanceof RemovalPendingError || !isAway(error);
        throw isTold ? error : new RemovalPendingError(sandbox.record, error);
      }
      context.registry.delete(id);
      context.log.info({ id, forgotten }, "sandbox removed");
      return { forgotten };
    },
    signal,
  );
}

/** What begins in a sandbox has no end when that is about to go. The caller holds the lock. */
export function refuseRemoved(context: SandboxContext, sandbox: LiveSandbox): void {
  const { record } = sandbox;
  if (record.removing || context.registry.find(record.id) !== sandbox) throw new SandboxRemovedError(record);
}

function isAway(error: unknown): boolean {
  return error instanceof HeyvmError && error.code === "backend_unavailable";
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
      throw new RemovalPendingError(sandbox.record, error);
    }
    await backend.destroy(id, signal);
    return;
  }
  const failures: unknown[] = [];
  for (const { backend } of context.backends.opened()) {
    const { available, reason = "no reason given", hint } = await backend.availability(signal);
    if (available) {
      await backend.destroy(id, signal).catch((error: unknown) => failures.push(error));
    } else if (isMountTeller(backend)) {
      // Its machine may run there, with folders of this host: nobody would know of them without the record.
      const away = new HeyvmError("backend_unavailable", reason, { hint });
      failures.push(new RemovalPendingError(sandbox.record, away, backend.name));
    }
  }
  // Only now: whoever has it forgotten then has nothing of it left where something could be done. What is more than
  // a backend that is away keeps it from being forgotten.
  if (failures.length > 0) throw failures.find((failure) => !isAway(failure)) ?? failures[0];
}
