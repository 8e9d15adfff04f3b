/** A sandbox's machine: what its backend is told, and how its agent is reached. */
import { timeoutSignal } from "../core/deadline.ts";
import type { AgentSession } from "../agent/types.ts";
import { isResettable } from "../backends/abilities.ts";
import type { Backend, MachineSpec, MachineStatus } from "../backends/backend.ts";
import { type BootWatch, watchBoot } from "../backends/boot-watch.ts";
import { HeyvmError, makeRoomHint } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";
import type { LiveSandbox } from "./registry.ts";
import { createSessionHolder, type SessionHolder } from "./sessions.ts";

const statusTimeoutMs = 30_000;
/** A machine that runs answers soon, or something is wrong with it; one that boots under emulation takes minutes. */
const runningTimeoutMs = 30_000;

/** What the record says of the machine, in the backend's words. */
export function machineSpecOf({ id, spec }: SandboxRecord): MachineSpec {
  return {
    id,
    name: spec.name,
    type: spec.type,
    image: spec.image,
    cpus: spec.cpus,
    memoryBytes: spec.memoryBytes,
    diskBytes: spec.diskBytes,
    mounts: spec.mounts.map(({ hostPath, guestPath, readOnly }) => ({ hostPath, guestPath, readOnly })),
    network: spec.network,
  };
}

/** The backend of a sandbox. Throws when the program has no such backend (any more). */
export async function backendOf(context: SandboxContext, { record }: LiveSandbox): Promise<Backend> {
  return await context.backends.get(record.spec.backend, record.spec.uri);
}

/** With every new session, before anybody has it. */
export type OnConnected = (
  context: SandboxContext,
  sandbox: LiveSandbox,
  agent: AgentSession,
  signal: AbortSignal,
) => Promise<void>;

/** A session that connects over the backend's channel when it is first needed. */
export function machineSession(
  context: SandboxContext,
  id: string,
  backend: () => Promise<Backend>,
  onConnected: OnConnected,
): SessionHolder {
  return createSessionHolder(async (signal): Promise<AgentSession> => {
    const machine = await backend();
    const sandbox = context.registry.find(id);
    const answersSoon = sandbox?.record.status === "running" && sandbox.reboots === 0;
    using end = machineEnd(machine, id);
    using boot = answersSoon ? undefined : watchMachineBoot(machine, sandbox);
    const neverAnswers = boot === undefined ? end.signal : AbortSignal.any([end.signal, boot.signal]);
    const ended = AbortSignal.any([signal, context.shutdown, neverAnswers]);
    try {
      const agent = await context.connectAgent(async (opening) => await machine.openChannel(id, opening), {
        signal: ended,
        timeoutMs: answersSoon ? runningTimeoutMs : context.settings.boot_timeout_seconds * 1000,
      });
      // From here on it may reset, and print what it likes.
      boot?.[Symbol.dispose]();
      if (sandbox === undefined) return agent;
      sandbox.hasAnswered = true;
      try {
        await onConnected(context, sandbox, agent, ended);
      } catch (error) {
        await agent.close();
        throw error;
      }
      return agent;
    } catch (error) {
      if (neverAnswers.aborted) throw neverAnswers.reason;
      // Whoever ended the connecting may have told why.
      throw signal.reason instanceof HeyvmError ? signal.reason : error;
    }
  });
}

function watchMachineBoot(backend: Backend, sandbox: LiveSandbox | undefined): BootWatch | undefined {
  if (sandbox === undefined) return undefined;
  const { id, status } = sandbox.record;
  // One that is in service and boots by itself is watched anew after each reset: that would have no end.
  const isBegun = status === "provisioning" || sandbox.starting;
  return watchBoot(
    {
      readConsole: async (maxBytes, signal) => await backend.readConsole(id, maxBytes, signal),
      onReset: (listener) =>
        backend.watch((told) => {
          if (told.id === id && told.rebooted === true) listener();
        }),
      reset: isBegun && isResettable(backend) ? async (signal) => await backend.reset(id, signal) : undefined,
    },
    status === "provisioning" && !sandbox.hasAnswered,
  );
}

/** A machine that ended, failed or was held by its host, so that nobody in it answers. */
export class MachineEndedError extends HeyvmError {
  constructor({ id, state, reason, code }: MachineStatus) {
    const why = reason ?? (state === "failed" ? "it failed" : `it is ${state}`);
    super(code ?? "guest_failed", `the machine of ${id} does not run any more: ${why}`, {
      hint: code === "disk_full" ? `${makeRoomHint}; then, if it is paused: heyvm resume ${id}` : undefined,
    });
  }
}

/** Whether its host holds it for a cause of its own: nobody has paused it, and whoever waits for it has to know. */
export function isHeld({ state, code }: MachineStatus): boolean {
  return state === "paused" && code !== undefined;
}

/** Its signal aborts with a `MachineEndedError` when the machine doesn't run any more: nobody in it will answer. */
export function machineEnd(
  backend: Pick<Backend, "status" | "watch">,
  id: string,
): Disposable & { signal: AbortSignal } {
  const ended = new AbortController();
  const ask = async (told?: MachineStatus): Promise<void> => {
    const now = await backend.status(id, timeoutSignal(statusTimeoutMs));
    // What was told knows why.
    if (!lasts(now)) ended.abort(new MachineEndedError(told ?? now));
  };
  // A backend that cannot be asked says so to the caller's own call.
  const look = (told?: MachineStatus): void => void ask(told).catch(() => undefined);
  // What is told may be of the time before the start, and come late: so it is asked anew.
  const unwatch = backend.watch((told) => {
    if (told.id === id && !lasts(told)) look(told);
  });
  // It may have ended before anybody watched.
  look();
  return { signal: ended.signal, [Symbol.dispose]: unwatch };
}

function lasts(status: MachineStatus): boolean {
  return status.state === "running" || (status.state === "paused" && !isHeld(status));
}
