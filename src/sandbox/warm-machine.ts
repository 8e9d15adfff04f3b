/** The machines of the warm pool: made as for any sandbox, up to the point where somebody wants it. */
import { timeoutSignal } from "../core/deadline.ts";
import { type AgentSession, runToEnd } from "../agent/index.ts";
import type { Backend, MachineStatus } from "../backends/backend.ts";
import type { SandboxType } from "../config/machine-kinds.ts";
import { messageOf } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import { identifyAgain, makeHostKeys } from "./guest-identity.ts";
import { enter, provisioningRecord, undo, wholly } from "./making.ts";
import { silentProgress } from "./progress.ts";
import { makeReadyMachine } from "./ready-machine.ts";
import type { SandboxSpec } from "./record.ts";
import { chooseId, nameFor, resolveRequest } from "./wanted.ts";
import type { WarmMachine } from "./warm-pool.ts";

/** What a sandbox of the type is likely to run first. */
const firstCommands: Record<SandboxType, readonly (readonly [string, ...string[]])[]> = {
  shell: [["/bin/sh", "-c", ":"]],
  python: [
    ["/bin/sh", "-c", ":"],
    ["python3", "-c", ""],
  ],
  node: [
    ["/bin/sh", "-c", ":"],
    ["node", "-e", ""],
  ],
};
const rehearsalTimeoutMs = 60_000;
const askTimeoutMs = 15_000;
const removeTimeoutMs = 120_000;
/** A daemon that leaves does not wait for a hung backend; the next one finds the record. */
const drainTimeoutMs = 20_000;

/** As the settings `pool.…` say. Its record says `provisioning`, so that it does not outlive a daemon that is killed. */
export async function makeWarmMachine(context: SandboxContext, signal: AbortSignal): Promise<WarmMachine> {
  const { settings, pool } = context;
  const image = settings["pool.image"] ?? undefined;
  const wanted = await resolveRequest(
    context,
    { image, type: settings["pool.type"], ttlSeconds: null },
    signal,
  );
  const { backend, spec } = wanted;
  const id = chooseId(wanted);
  const names = { name: nameFor(id), slug: nameFor(id) };
  const record = provisioningRecord(id, { ...spec, ...names }, []);
  const sandbox = await enter(context, record, backend, { warm: true });
  return await wholly(context, sandbox, backend, silentProgress(signal), async (progress) => {
    const { started, agent } = await makeReadyMachine(context, sandbox, wanted, progress);
    await makeHostKeys(context, sandbox, agent);
    await rehearse(agent, sandbox.record.spec, progress.signal);
    progress.signal.throwIfAborted();
    void agent.closed.then(() => pool.lose(id));
    context.log.info({ id }, "a warm machine waits");
    return { id, sandbox, backend, agent, started };
  });
}

/**
 * Does what a claim and a first command do, because a clone does everything slowly once: it copies pages, reads files
 * that its template has forgotten, and under emulation its code is translated.
 */
async function rehearse(
  agent: AgentSession,
  { slug, type }: SandboxSpec,
  signal: AbortSignal,
): Promise<void> {
  await identifyAgain(agent, slug, { signal });
  await agent.statistics({ signal });
  for (const argv of firstCommands[type]) {
    await runToEnd(agent, { argv, timeoutMs: rehearsalTimeoutMs }, { signal });
  }
}

/** Never fails. */
export async function removeWarmMachine(
  context: SandboxContext,
  { sandbox, backend }: WarmMachine,
): Promise<void> {
  await sandbox.lock.run("removing a warm machine", async () => {
    const timeoutMs = context.shutdown.aborted ? drainTimeoutMs : removeTimeoutMs;
    await undo(context, sandbox, backend, timeoutMs);
    context.log.info({ id: sandbox.record.id }, "warm machine removed");
  });
}

/** One that ended, or that somebody paused with another tool, is of no use. */
export async function lookAtWarmMachine(
  context: SandboxContext,
  backend: Backend,
  { id }: MachineStatus,
): Promise<void> {
  try {
    const { state } = await backend.status(id, timeoutSignal(askTimeoutMs));
    if (state !== "running") context.pool.lose(id);
  } catch (error) {
    // Whoever claims it finds out.
    context.log.warn({ id, reason: messageOf(error) }, "a warm machine could not be looked at");
  }
}
