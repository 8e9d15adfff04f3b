/** What makes a guest this sandbox's and no other's. */
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";

import { timeoutSignal } from "../core/deadline.ts";
import { isAgentError } from "../agent/agent-errors.ts";
import type { AgentSession, GuestIdentity } from "../agent/types.ts";
import type { CallOptions } from "../core/deadline.ts";
import { messageOf } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import type { Progress } from "./progress.ts";
import type { SandboxSpec } from "./record.ts";
import type { LiveSandbox } from "./registry.ts";
import { newSshHostKeys } from "./ssh-host-keys.ts";

const hostKeysTimeoutMs = 60_000;
const sshPort = 22;

/** For a guest that nobody used yet: also its machine id and, when it is a clone, the id of its boot. */
export async function identifyNew(
  agent: AgentSession,
  slug: string,
  { isClone }: { isClone: boolean },
  options: CallOptions,
): Promise<void> {
  const machineId = randomBytes(16).toString("hex");
  const bootId = isClone ? randomUUID() : undefined;
  await agent.identify({ ...present(slug), machineId, bootId }, options);
}

/** Host name, clock and fresh entropy, of a guest that has an identity. */
export async function identifyAgain(agent: AgentSession, slug: string, options: CallOptions): Promise<void> {
  await agent.identify(present(slug), options);
}

/**
 * As `identifyAgain`, of a guest that was stopped. What it cannot set is a warning: it has been itself before, and only one
 * that starts can have its disk emptied or its files mended.
 */
export async function identifyRestarted(
  agent: AgentSession,
  slug: string,
  { signal, onWarning }: Pick<Progress, "signal" | "onWarning">,
): Promise<void> {
  try {
    await identifyAgain(agent, slug, { signal });
  } catch (error) {
    if (!isAgentError(error)) throw error;
    onWarning(`the guest could not be given its name and time again: ${messageOf(error)}`);
  }
}

function present(hostname: string): GuestIdentity {
  return { hostname, clockMs: Date.now(), entropy: randomBytes(64).toString("base64") };
}

/** An ssh server that the image starts at boot had no keys then, or keys that every clone has. */
const startSshScript = `
for server in ssh sshd; do
  if systemctl is-enabled --quiet $server 2> /dev/null; then systemctl --no-block restart $server
  elif rc-update show default 2> /dev/null | grep -qw $server; then rc-service --quiet $server restart
  fi
done`;

/** Whether anybody could connect to an ssh server in the guest. */
export function isReachableBySsh({ network, openPorts }: SandboxSpec): boolean {
  return network || openPorts.some(({ guestPort }) => guestPort === sshPort);
}

/**
 * No create waits for this. Only a guest with an ssh server needs keys, and only one that can be reached needs the
 * server to run: it would cost every emulated guest a second of CPU. Never fails.
 */
export async function makeHostKeys(
  context: SandboxContext,
  { record }: LiveSandbox,
  agent: AgentSession,
  { afterMs = 0 }: { afterMs?: number } = {},
): Promise<void> {
  const signal = AbortSignal.any([context.shutdown, timeoutSignal(hostKeysTimeoutMs)]);
  try {
    if (afterMs > 0) await delay(afterMs, undefined, { signal });
    const sshd = await agent.files.stat("/usr/sbin/sshd", { signal }).catch(() => undefined);
    if (sshd === undefined) return;
    await agent.identify({ sshHostKeys: newSshHostKeys(`root@${record.spec.slug}`) }, { signal });
    if (isReachableBySsh(record.spec)) {
      const nowhere = { stdoutPath: "/dev/null", stderrPath: "/dev/null" };
      await agent.exec({ argv: ["/bin/sh", "-c", startSshScript], detached: nowhere }, { signal });
    }
  } catch (error) {
    // The sandbox may have ended before.
    context.log.info({ id: record.id, reason: messageOf(error) }, "ssh host keys were not made");
  }
}
