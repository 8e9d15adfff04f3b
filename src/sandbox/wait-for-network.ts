/** The agent answers before the guest's network is up: whoever asked for one may use it when the sandbox is ready. */
import { type AgentSession, runToEnd } from "../agent/index.ts";

const deadlineSeconds = 60;
const slackMs = 60_000;

/** A default route, which comes with the address. `/proc/net/route` needs no tool that an image may lack. */
const script = `
i=0
until grep -qE '^[^[:space:]]+[[:space:]]+00000000[[:space:]]' /proc/net/route; do
  i=$((i + 1))
  [ "$i" -ge ${deadlineSeconds * 5} ] && exit 1
  sleep 0.2
done`;

/** Whether the guest got a default route in time. */
export async function waitForNetwork(agent: AgentSession, signal: AbortSignal): Promise<boolean> {
  const timeoutMs = deadlineSeconds * 1000 + slackMs;
  const { code } = await runToEnd(agent, { argv: ["/bin/sh", "-c", script], timeoutMs }, { signal });
  return code === 0;
}
