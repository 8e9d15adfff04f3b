/** Changes of a sandbox's record, always on disk before anyone is told. */
import type { MachineStatus } from "../backends/backend.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";
import { isHeld, MachineEndedError } from "./machine.ts";
import type { LiveSandbox } from "./registry.ts";

/** Saves the record with these fields changed. */
export async function change(
  context: SandboxContext,
  sandbox: LiveSandbox,
  fields: Partial<SandboxRecord>,
): Promise<void> {
  const record = { ...sandbox.record, ...fields };
  await context.records.save(record);
  sandbox.record = record;
}

/** Lets go of what only a running machine has: the agent's session and the published ports. */
export async function disconnect(sandbox: LiveSandbox): Promise<void> {
  const { ports } = sandbox;
  sandbox.ports = undefined;
  sandbox.cpuSample = undefined;
  await Promise.all([sandbox.session.close(), ports?.close()]);
}

/** Makes the record say what the backend says. The caller holds the sandbox's lock. */
export async function applyMachineStatus(
  context: SandboxContext,
  sandbox: LiveSandbox,
  machine: MachineStatus,
): Promise<void> {
  sandbox.unreachable = undefined;
  const status = machine.state === "absent" ? "failed" : machine.state;
  if (status !== "running" && status !== "paused") await disconnect(sandbox);
  if (status === sandbox.record.status) return;
  const isHeldByHost = isHeld(machine);
  // Its commands end with the reason: one that waits for a full disk would wait for ever, and its user not know why.
  if (isHeldByHost) await sandbox.session.close(new MachineEndedError(machine));
  // Somebody paused or resumed it with another tool.
  else if (status === "paused") sandbox.session.current()?.hold();
  if (status === "running") sandbox.session.current()?.release();
  const errorMessage =
    machine.state === "absent"
      ? "its machine is gone: somebody removed it with another tool"
      : status === "failed"
        ? (machine.reason ?? "its machine failed")
        : isHeldByHost
          ? `${machine.reason ?? "its host holds it"}: when that is mended, heyvm resume ${sandbox.record.id}`
          : undefined;
  context.log.info(
    { id: sandbox.record.id, from: sandbox.record.status, to: status },
    "machine changed state",
  );
  await change(context, sandbox, {
    status,
    errorMessage,
    startedAtMs:
      status === "running" || status === "paused" ? (sandbox.record.startedAtMs ?? Date.now()) : null,
  });
}
