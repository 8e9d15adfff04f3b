/** git refuses a repository that is another user's, which one on a mount is: the guest sees the host's user as its owner. */
import { text } from "node:stream/consumers";

import { isAgentError } from "../agent/agent-errors.ts";
import type { AgentSession } from "../agent/types.ts";
import { messageOf, toHeyvmError } from "../errors/index.ts";
import type { Progress } from "./progress.ts";

const path = "/etc/gitconfig";
/** Before version 2.46 git knows no pattern for the repositories below one folder. */
const trust = "[safe]\n\tdirectory = *\n";
const longestBytes = 65_536;

/**
 * Has git take the mounted repositories as they are: what it guards against is other users of the same machine. Does nothing
 * where the system's configuration says something of it. What the guest refuses is a warning.
 */
export async function trustMountedRepositories(
  agent: AgentSession,
  { signal, onWarning }: Pick<Progress, "signal" | "onWarning">,
): Promise<void> {
  try {
    const config = await readConfig(agent, signal);
    if (config.length >= longestBytes || /^\s*\[safe\]/im.test(config)) return;
    const parts = [config, config === "" || config.endsWith("\n") ? "" : "\n", trust];
    await agent.files.write(path, oneChunk(parts.join("")), { signal });
  } catch (error) {
    if (!isAgentError(error)) throw error;
    onWarning(`git may refuse repositories on the mounts: ${messageOf(error)}`);
  }
}

async function readConfig(agent: AgentSession, signal: AbortSignal): Promise<string> {
  try {
    return await text(await agent.files.read(path, { length: longestBytes, signal }));
  } catch (error) {
    if (toHeyvmError(error).code === "path_not_found") return "";
    throw error;
  }
}

async function* oneChunk(content: string): AsyncGenerator<Buffer> {
  yield await Promise.resolve(Buffer.from(content));
}
