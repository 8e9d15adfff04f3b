/** Stops a sandbox: politely, or at once. Its disk stays. */
import { timeoutSignal } from "../core/deadline.ts";
import type { Backend } from "../backends/backend.ts";
import { HeyvmError } from "../errors/index.ts";
import { disconnect, note } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { backendOf, machineSpecOf } from "./machine.ts";
import { checkMountsAgain } from "./mounts-again.ts";
import type { Progress } from "./progress.ts";
import type { SandboxRecord } from "./record.ts";
import { refuseRemoved } from "./remove.ts";
import { type LiveSandbox, standingOf } from "./registry.ts";
import { startMachine } from "./start.ts";
import { needsTransition } from "./states.ts";

/** How long a guest may take to power off by itself; then it is cut. */
export const defaultGraceMs = 30_000;
/** A guest that does not even agree within this will not power off. */
const agreeTimeoutMs = 5000;
const cutTimeoutMs = 60_000;

/** What ran in it, or went to or from it, has ended with it. */
class SandboxStoppedError extends HeyvmError {
  constructor({ id, spec }: SandboxRecord, how: "stopped" | "restarted") {
    super("guest_failed", `sandbox ${spec.name} was ${how}`, {
      hint: how === "stopped" ? `heyvm start ${id}` : "run it again",
    });
  }
}

/** Asks the guest to power off, and cuts it when it has not within `graceMs`. */
export async function stopSandbox(
  context: SandboxContext,
  sandbox: LiveSandbox,
  options: { graceMs?: number | undefined; signal: AbortSignal },
): Promise<void> {
  await sandbox.lock.run(
    "stopping the sandbox",
    async () => {
      if (!needsTransition(standingOf(sandbox), "stop")) return;
      await stopMachine(context, sandbox, options.graceMs ?? defaultGraceMs, "stopped");
    },
    options.signal,
  );
}

/** Cuts it at once, as if the power failed. */
export async function killSandbox(
  context: SandboxContext,
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<void> {
  await sandbox.lock.run(
    "killing the sandbox",
    async () => {
      if (!needsTransition(standingOf(sandbox), "kill")) return;
      await stopMachine(context, sandbox, 0, "stopped");
    },
    signal,
  );
}

/** Stops and starts it; a stopped one is only started. */
export async function restartSandbox(
  context: SandboxContext,
  sandbox: LiveSandbox,
  options: { graceMs?: number | undefined; progress: Progress },
): Promise<void> {
  const { progress, graceMs } = options;
  const whole = { ...progress, signal: AbortSignal.any([progress.signal, context.shutdown]) };
  await sandbox.lock.run(
    "restarting the sandbox",
    async () => {
      refuseRemoved(context, sandbox);
      needsTransition(standingOf(sandbox), "restart");
      if (sandbox.record.status !== "stopped") {
        // One that could not start again, because of another one's guest or a folder that is gone, had better go on.
        await checkMountsAgain(context, sandbox, whole.signal);
        const backend = await backendOf(context, sandbox);
        await backend.checkStart(machineSpecOf(sandbox.record), whole.signal);
        await stopMachine(context, sandbox, graceMs ?? defaultGraceMs, "restarted");
      }
      await startMachine(context, sandbox, whole);
    },
    whole.signal,
  );
}

/** Once begun it is carried through: a half-stopped machine helps nobody. */
async function stopMachine(
  context: SandboxContext,
  sandbox: LiveSandbox,
  graceMs: number,
  how: "stopped" | "restarted",
): Promise<void> {
  const { id, status } = sandbox.record;
  const backend = await backendOf(context, sandbox);
  if (graceMs > 0 && status === "running") await powerOff(sandbox, backend, graceMs);
  const reason = new SandboxStoppedError(sandbox.record, how);
  await disconnect(sandbox, reason);
  await backend.stop(id, timeoutSignal(cutTimeoutMs));
  // Who looked at it while it ended has connected again.
  await disconnect(sandbox, reason);
  await note(context, sandbox, {
    status: "stopped",
    starting: undefined,
    startedAtMs: null,
    errorMessage: undefined,
  });
}

/** Whether it worked or not does not matter: the caller cuts what is left. */
async function powerOff(sandbox: LiveSandbox, backend: Backend, graceMs: number): Promise<void> {
  const { id } = sandbox.record;
  const grace = new AbortController();
  const timer = setTimeout(() => grace.abort(), graceMs);
  const off = untilOff(backend, id, grace.signal);
  try {
    const signal = AbortSignal.any([grace.signal, timeoutSignal(agreeTimeoutMs)]);
    const agent = await sandbox.session.get(signal);
    await agent.powerOff({ signal });
    await off;
  } catch {
    // No agent, or it would not.
  } finally {
    clearTimeout(timer);
    grace.abort();
  }
}

/** Resolves when the machine is off, or the signal aborts. */
async function untilOff(backend: Backend, id: string, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const unwatch = backend.watch((status) => {
      if (status.id === id && status.state !== "running" && status.state !== "paused") finish();
    });
    const finish = (): void => {
      signal.removeEventListener("abort", finish);
      unwatch();
      resolve();
    };
    signal.addEventListener("abort", finish, { once: true });
  });
}
