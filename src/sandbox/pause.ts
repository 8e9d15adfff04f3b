/** Holds a sandbox still, and lets it go on. */
import type { Pausable } from "../backends/abilities.ts";
import type { Backend } from "../backends/backend.ts";
import { asPausable } from "./backend-registry.ts";
import { note } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { backendOf } from "./machine.ts";
import { refuseRemoved } from "./remove.ts";
import { type LiveSandbox, standingOf } from "./registry.ts";
import { needsTransition } from "./states.ts";

/** A paused sandbox uses no CPU and keeps its memory. The session stays: commands go on after a short pause. */
export async function pauseSandbox(
  context: SandboxContext,
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<void> {
  await sandbox.lock.run(
    "pausing the sandbox",
    async () => {
      if (!needsTransition(standingOf(sandbox), "pause")) return;
      const backend = await pausableBackend(context, sandbox);
      const agent = sandbox.session.current();
      // From here on a silent agent is no dead one.
      agent?.hold();
      try {
        await backend.pause(sandbox.record.id, signal);
      } catch (error) {
        agent?.release();
        throw error;
      }
      await note(context, sandbox, { status: "paused" });
    },
    signal,
  );
}

const clockTimeoutMs = 60_000;

/** Also sets the guest's clock, which stood still. */
export async function resumeSandbox(
  context: SandboxContext,
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<void> {
  await sandbox.lock.run(
    "resuming the sandbox",
    async () => {
      refuseRemoved(context, sandbox);
      if (!needsTransition(standingOf(sandbox), "resume")) return;
      const backend = await pausableBackend(context, sandbox);
      await backend.resume(sandbox.record.id, signal);
      sandbox.session.current()?.release();
      await note(context, sandbox, { status: "running", errorMessage: undefined });
      const agent = await sandbox.session.get(signal);
      await agent.identify({ clockMs: Date.now() }, { signal, timeoutMs: clockTimeoutMs });
    },
    signal,
  );
}

async function pausableBackend(context: SandboxContext, sandbox: LiveSandbox): Promise<Backend & Pausable> {
  return asPausable(await backendOf(context, sandbox), await context.backends.all());
}
