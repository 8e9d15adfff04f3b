/** After a start of the daemon: what the records say, against what really exists. */
import { timeoutSignal } from "../core/deadline.ts";
import type { Backend, MachineStatus } from "../backends/backend.ts";
import { messageOf } from "../errors/index.ts";
import { applyMachineStatus, note } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { setUpAfterReboot } from "./guest-reboot.ts";
import { backendOf, machineSession } from "./machine.ts";
import { publishPorts } from "./ports.ts";
import type { SandboxRecord } from "./record.ts";
import type { LiveSandbox } from "./registry.ts";
import { removeSandbox } from "./remove.ts";

const askTimeoutMs = 15_000;
const stopTimeoutMs = 60_000;
const removeTimeoutMs = 120_000;

/**
 * Adopts machines that run, finishes removals, removes creates that were cut off and machines that no record knows, stops
 * those whose start was cut off, and arms the deadlines. A backend that cannot be asked leaves its sandboxes `unknown`.
 */
export async function reconcile(context: SandboxContext): Promise<void> {
  const loaded = await context.records.load();
  const sandboxes = loaded.map(({ record, damaged }) => addLoaded(context, record, damaged));
  await context.backends.all();
  await Promise.all(sandboxes.map(async (sandbox) => await settle(context, sandbox)));
  await Promise.all(
    context.backends.opened().map(async ({ backend }) => await removeUnowned(context, backend)),
  );
}

/** Asks the backend of one sandbox how its machine is; `unreachable` when it cannot be asked. */
export async function refresh(context: SandboxContext, sandbox: LiveSandbox): Promise<void> {
  await sandbox.lock.run("looking at the sandbox", async () => {
    if (sandbox.damaged || context.registry.find(sandbox.record.id) !== sandbox) return;
    if (sandbox.record.status === "provisioning" || sandbox.record.removing) return;
    let machine: MachineStatus;
    try {
      const backend = await backendOf(context, sandbox);
      if (sandbox.record.starting === true) await endCutOffStart(context, sandbox, backend);
      machine = await backend.status(sandbox.record.id, timeoutSignal(askTimeoutMs));
    } catch (error) {
      sandbox.unreachable = messageOf(error);
      return;
    }
    await applyMachineStatus(context, sandbox, machine);
  });
}

/**
 * By reference, for who wants to do something with it. One whose backend could not be asked is looked at again: a backend that
 * was away when the daemon began tells nobody that it is back.
 */
export async function findSandbox(context: SandboxContext, reference: string): Promise<LiveSandbox> {
  const sandbox = context.registry.resolve(reference);
  if (sandbox.unreachable !== undefined) await refresh(context, sandbox);
  return sandbox;
}

/** As a start that fails does: its guest may lack its mounts and its start command, which nobody would notice. */
async function endCutOffStart(
  context: SandboxContext,
  sandbox: LiveSandbox,
  backend: Backend,
): Promise<void> {
  const { id } = sandbox.record;
  context.log.info({ id }, "stopping a machine whose start was cut off");
  await backend.stop(id, timeoutSignal(stopTimeoutMs));
  await note(context, sandbox, {
    status: "stopped",
    starting: undefined,
    startedAtMs: null,
    errorMessage: undefined,
  });
}

function addLoaded(context: SandboxContext, record: SandboxRecord, damaged: boolean): LiveSandbox {
  const sandbox = context.registry.add(
    record,
    machineSession(context, record.id, async () => await backendOf(context, sandbox), setUpAfterReboot),
    { damaged },
  );
  return sandbox;
}

async function settle(context: SandboxContext, sandbox: LiveSandbox): Promise<void> {
  const { id, status, removing, expiresAtMs } = sandbox.record;
  if (status === "provisioning" || removing) {
    context.log.info({ id, status }, "removing what an earlier daemon left unfinished");
    try {
      await removeSandbox(context, sandbox, { signal: timeoutSignal(removeTimeoutMs) });
    } catch (error) {
      sandbox.unreachable = messageOf(error);
      context.log.error({ id, reason: sandbox.unreachable }, "could not be removed; tried again later");
    }
    return;
  }
  await refresh(context, sandbox);
  if (expiresAtMs !== null) context.deadlines.arm(id, expiresAtMs);
  if (sandbox.record.status === "running" && sandbox.unreachable === undefined) {
    await publishAgain(context, sandbox);
  }
}

async function publishAgain(context: SandboxContext, sandbox: LiveSandbox): Promise<void> {
  const { id, spec } = sandbox.record;
  try {
    sandbox.ports = await publishPorts(spec.openPorts, async (signal) => await sandbox.session.get(signal));
  } catch (error) {
    context.log.warn({ id, reason: messageOf(error) }, "ports of an adopted sandbox are not published");
  }
}

/** Machines are made after their record, so one without a record belongs to nobody. */
async function removeUnowned(context: SandboxContext, backend: Backend): Promise<void> {
  try {
    const signal = timeoutSignal(removeTimeoutMs);
    for (const { id } of await backend.list(signal)) {
      if (context.registry.find(id) !== undefined) continue;
      context.log.warn({ id, backend: backend.name }, "removing a machine that no record knows");
      await backend.destroy(id, signal);
    }
  } catch (error) {
    context.log.warn({ backend: backend.name, reason: messageOf(error) }, "backend could not be reconciled");
  }
}
