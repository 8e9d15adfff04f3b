/**
 * A guest that reboots by itself: its machine goes on, but its mounts and its start command are gone. They are begun again
 * before anybody gets at the guest, so that nothing is written below a mount point instead.
 */
import type { AgentSession } from "../agent/types.ts";
import type { GuestMount } from "../backends/backend.ts";
import { AbortedError, HeyvmError, messageOf } from "../errors/index.ts";
import { change } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { identifyAgain } from "./guest-identity.ts";
import { beginStartCommand, mountAll } from "./guest-setup.ts";
import type { GuestSetUp } from "./record.ts";
import type { LiveSandbox } from "./registry.ts";

/** Commands and transfers end with the guest that they ran in. */
class GuestRebootedError extends HeyvmError {
  constructor(name: string) {
    super("guest_failed", `the guest of ${name} rebooted`, {
      hint: "run the command again: it waits until the guest is up",
    });
  }
}

/** For the record of a guest that has just been set up. */
export function setUpOf(sandbox: LiveSandbox, guestMounts: readonly GuestMount[]): GuestSetUp | undefined {
  const agent = sandbox.session.current();
  return agent && { bootId: agent.info.bootId, guestMounts: [...guestMounts] };
}

/** Whoever uses the sandbox from now on waits for the guest to come up. Also without anybody its start command does. */
export async function followReboot(context: SandboxContext, sandbox: LiveSandbox): Promise<void> {
  const { id, spec } = sandbox.record;
  if (!isInService(sandbox)) return;
  context.log.info({ id }, "the guest reboots");
  sandbox.rebooting = true;
  await sandbox.session.close(new GuestRebootedError(spec.name));
  try {
    await sandbox.session.get(context.shutdown);
  } catch (error) {
    if (error instanceof AbortedError) return;
    context.log.warn({ id, reason: messageOf(error) }, "the guest did not come back after its reboot");
  } finally {
    sandbox.rebooting = false;
  }
}

/** Called with every session before anybody has it. Does nothing in the boot that has its set-up. Never fails for what a guest does. */
export async function setUpAfterReboot(
  context: SandboxContext,
  sandbox: LiveSandbox,
  agent: AgentSession,
  signal: AbortSignal,
): Promise<void> {
  const { id, spec, setUp } = sandbox.record;
  const { bootId } = agent.info;
  if (!isInService(sandbox) || setUp === undefined || setUp.bootId === bootId) return;
  const steps: [string, () => Promise<void>][] = [
    ["host name and clock", async () => await identifyAgain(agent, spec.slug, { signal })],
    ["mounts", async () => await mountAll(agent, setUp.guestMounts, signal)],
    ["start command", async () => await beginStartCommand(agent, spec, signal)],
  ];
  const missing: string[] = [];
  for (const [what, step] of steps) {
    try {
      await step();
    } catch (error) {
      if (signal.aborted) throw new AbortedError("setting the guest up after its reboot", signal.reason);
      missing.push(`the guest rebooted, and its ${what} could not be restored: ${messageOf(error)}`);
    }
  }
  context.log.info({ id, missing }, "the guest was set up again after its reboot");
  // At once in memory; the lock may be held by who waits for this session.
  sandbox.record = { ...sandbox.record, setUp: { ...setUp, bootId } };
  void writeDown(context, sandbox, missing);
}

async function writeDown(
  context: SandboxContext,
  sandbox: LiveSandbox,
  missing: readonly string[],
): Promise<void> {
  try {
    await sandbox.lock.run("writing down the guest's reboot", async () => {
      if (context.registry.find(sandbox.record.id) !== sandbox || sandbox.record.removing) return;
      const warnings = new Set([...sandbox.record.warnings, ...missing]);
      await change(context, sandbox, { warnings: [...warnings] });
    });
  } catch (error) {
    const { id } = sandbox.record;
    context.log.warn({ id, reason: messageOf(error) }, "the guest's reboot could not be written down");
  }
}

/** Set up before, and not about to be set up or ended by somebody else. */
function isInService({ record, starting }: LiveSandbox): boolean {
  return record.status === "running" && !starting && !record.removing;
}
