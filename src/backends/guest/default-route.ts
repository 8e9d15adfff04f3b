/** The agent answers before the guest's network is up: whoever needs a network waits for its default route. */
import { type AgentSession, runToEnd } from "../../agent/index.ts";

const deadlineSeconds = 60;
const slackMs = 60_000;

/**
 * Waits for a default route, which comes with the address, and ends with 1 when none came in time. Reads
 * `/proc/net/route`, which needs no tool that an image may lack.
 */
export const untilDefaultRoute = `(
  tries=${deadlineSeconds * 5}
  until grep -qE '^[^[:space:]]+[[:space:]]+00000000[[:space:]]' /proc/net/route; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || exit 1
    sleep 0.2
  done
)`;

/** Whether the guest got a default route in time. */
export async function waitForNetwork(agent: AgentSession, signal: AbortSignal): Promise<boolean> {
  const timeoutMs = deadlineSeconds * 1000 + slackMs;
  const request = { argv: ["/bin/sh", "-c", untilDefaultRoute], timeoutMs } as const;
  const { code } = await runToEnd(agent, request, { signal });
  return code === 0;
}
