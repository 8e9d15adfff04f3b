/**
 * A guest that reboots by itself: its machine goes on, but its mounts and its start command are gone. They are begun again
 * before anybody gets at the guest, so that nothing is written below a mount point instead.
 */
import type { AgentSession } from "../agent/types.ts";
import type { GuestMount } from "../backends/backend.ts";
import { waitForNetwork } from "../backends/guest/default-route.ts";
import { AbortedError, HeyvmError, messageOf } from "../errors/index.ts";
import { note } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { identifyAgain } from "./guest-identity.ts";
import { beginStartCommand, equipGuest, isStartCommandUp } from "./guest-setup.ts";
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

/** How each warning of this file begins, so that those of an earlier boot can be taken back. */
const rebooted = "the guest rebooted, and ";

/** For the record of a guest that has just been set up. */
export function setUpOf(agent: AgentSession, guestMounts: readonly GuestMount[]): GuestSetUp {
  return { bootId: agent.info.bootId, guestMounts: [...guestMounts] };
}

/** Those that are not of an earlier boot. */
export function withoutRebootWarnings(warnings: readonly string[]): string[] {
  return warnings.filter((warning) => !warning.startsWith(rebooted));
}

/**
 * Called when the machine was just reset. Whoever uses the sandbox from now on waits for the guest to come up; its start
 * command begins also when nobody does.
 */
export async function followReboot(context: SandboxContext, sandbox: LiveSandbox): Promise<void> {
  const { id, spec } = sandbox.record;
  if (!isInService(sandbox)) return;
  context.log.info({ id }, "the guest reboots");
  // It may be reset once more meanwhile.
  sandbox.reboots += 1;
  try {
    await sandbox.session.close(new GuestRebootedError(spec.name));
    await sandbox.session.get(context.shutdown);
  } catch (error) {
    if (error instanceof AbortedError) return;
    context.log.warn({ id, reason: messageOf(error) }, "the guest did not come back after its reboot");
  } finally {
    sandbox.reboots -= 1;
  }
}

/**
 * Called with every session before anybody has it. Does nothing in the boot that has its set-up. What the guest refuses is
 * told in the sandbox's warnings. Throws when the session ends on the way: the next one begins again.
 */
export async function setUpAfterReboot(
  context: SandboxContext,
  sandbox: LiveSandbox,
  agent: AgentSession,
  signal: AbortSignal,
): Promise<void> {
  const { id, spec, setUp } = sandbox.record;
  const { bootId } = agent.info;
  if (!isInService(sandbox) || setUp === undefined || setUp.bootId === bootId) return;
  const refused: string[] = [];
  /** What the guest says of it is for the log: no record should be full of that. */
  const attempt = async (refusal: string, step: () => Promise<unknown>): Promise<boolean> => {
    try {
      if ((await step()) !== false) return true;
    } catch (error) {
      if (signal.aborted) throw new AbortedError("setting the guest up after its reboot", signal.reason);
      if (!(await answers(agent, signal))) throw error;
      context.log.warn({ id, reason: messageOf(error) }, `${rebooted}${refusal}`);
    }
    refused.push(`${rebooted}${refusal}`);
    return false;
  };
  await attempt("its host name and clock could not be set", () =>
    identifyAgain(agent, spec.slug, { signal }),
  );
  const equip = () => equipGuest(agent, spec, setUp.guestMounts, signal);
  // Without its mounts it would write below them.
  if (await attempt("its mounts could not be restored: its start command was not begun", equip)) {
    if (spec.network) await attempt("it has no route yet", () => waitForNetwork(agent, signal));
    await attempt("its start command could not be begun", async () => {
      // A session that ended on the way may have come as far as that.
      if (!(await isStartCommandUp(agent, spec, signal))) await beginStartCommand(agent, spec, signal);
    });
  }
  context.log.info({ id, refused }, "the guest was set up again after its reboot");
  // At once in memory; the lock may be held by who waits for this session.
  sandbox.record = { ...sandbox.record, setUp: { ...setUp, bootId } };
  void writeDown(context, sandbox, refused);
}

const answerTimeoutMs = 15_000;

async function answers(agent: AgentSession, signal: AbortSignal): Promise<boolean> {
  return await agent.ping({ signal, timeoutMs: answerTimeoutMs }).then(
    () => true,
    () => false,
  );
}

async function writeDown(
  context: SandboxContext,
  sandbox: LiveSandbox,
  refused: readonly string[],
): Promise<void> {
  const { id } = sandbox.record;
  try {
    await sandbox.lock.run("writing down the guest's reboot", async () => {
      if (context.registry.find(id) !== sandbox || sandbox.record.removing) return;
      const warnings = [...withoutRebootWarnings(sandbox.record.warnings), ...refused];
      await note(context, sandbox, { warnings });
    });
  } catch (error) {
    context.log.warn({ id, reason: messageOf(error) }, "the guest's reboot could not be written down");
  }
}

/** Set up before, and not about to be set up or ended by somebody else. */
function isInService({ record, starting }: LiveSandbox): boolean {
  return record.status === "running" && !starting && !record.removing;
}
