import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Where guest/agent.py is: beside `src` in a checkout, beside `dist` in the published package. */
export function agentSourcePath(): string {
  return fileURLToPath(new URL("../../guest/agent.py", import.meta.url));
}

/** Read with this code: a daemon outlives the installation that it was started from, and keeps the agent that fits it. */
const source = readFileSync(agentSourcePath(), "utf8");

/** The agent itself, as it goes into guests. */
export function agentSource(): string {
  return source;
}

let version: string | undefined;

/** Names the agent's content: what was prepared with another one is out of date. */
export function agentVersion(): string {
  version ??= createHash("sha256").update(source).digest("hex").slice(0, 16);
  return version;
}
