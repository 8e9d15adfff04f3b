/** Changes of a sandbox's record: what is wanted is on disk before it is done, what has happened is told in any case. */
import type { MachineStatus } from "../backends/backend.ts";
import { messageOf } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";
import { isHeld, MachineEndedError } from "./machine.ts";
import type { LiveSandbox } from "./registry.ts";

/** Saves the record with these fields changed. Throws when that cannot be written, and nothing is changed then. */
export async function change(
  context: SandboxContext,
  sandbox: LiveSandbox,
  fields: Partial<SandboxRecord>,
): Promise<void> {
  await context.records.save({ ...sandbox.record, ...fields });
  // Of what changed meanwhile nothing is taken back.
  sandbox.record = { ...sandbox.record, ...fields };
}

/**
 * Changes these fields to what has become of the machine. That is so whether or not it can be written: on a full disk the
 * next daemon finds it out again.
 */
export async function note(
  context: SandboxContext,
  sandbox: LiveSandbox,
  fields: Partial<SandboxRecord>,
): Promise<void> {
  sandbox.record = { ...sandbox.record, ...fields };
  try {
    await context.records.save(sandbox.record);
  } catch (error) {
    const { id } = sandbox.record;
    context.log.warn({ id, reason: messageOf(error) }, "what became of a sandbox could not be written down");
  }
}

/**
 * Lets go of what only a running machine has: the agent's session and the published ports. What is under way in it fails with
 * the reason; without one, the daemon leaves.
 */
export async function disconnect(sandbox: LiveSandbox, reason: Error | undefined): Promise<void> {
  const { ports } = sandbox;
  sandbox.ports = undefined;
  sandbox.cpuSample = undefined;
  await Promise.all([sandbox.session.close(reason), ports?.close()]);
}

/** Makes the record say what the backend says. The caller holds the sandbox's lock. */
export async function applyMachineStatus(
  context: SandboxContext,
  sandbox: LiveSandbox,
  machine: MachineStatus,
): Promise<void> {
  sandbox.unreachable = undefined;
  const status = machine.state === "absent" ? "failed" : machine.state;
  if (status !== "running" && status !== "paused") await disconnect(sandbox, new MachineEndedError(machine));
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
  await note(context, sandbox, {
    status,
    errorMessage,
    startedAtMs:
      status === "running" || status === "paused" ? (sandbox.record.startedAtMs ?? Date.now()) : null,
  });
}
