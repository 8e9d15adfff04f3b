import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export interface AgentFile {
  /** Beside `agent.py`, which starts the agent. */
  name: string;
  content: string;
}

/** Where guest/agent.py is: beside `src` in a checkout, beside `dist` in the published package. */
export function agentSourcePath(): string {
  return fileURLToPath(new URL("../../guest/agent.py", import.meta.url));
}

/** Read with this code: a daemon outlives the installation that it was started from, and keeps the agent that fits it. */
const source: readonly AgentFile[] = ["agent.py", ...moduleNames()].map((name) => ({
  name,
  content: readFileSync(new URL(`../../guest/${name}`, import.meta.url), "utf8"),
}));

function moduleNames(): string[] {
  const names = readdirSync(new URL("../../guest/heyvm_agent", import.meta.url));
  return names
    .filter((name) => name.endsWith(".py"))
    .toSorted()
    .map((name) => `heyvm_agent/${name}`);
}

/** The agent itself, as it goes into guests. */
export function agentSource(): readonly AgentFile[] {
  return source;
}

let version: string | undefined;

/** Names the agent's content: what was prepared with another one is out of date. */
export function agentVersion(): string {
  version ??= createHash("sha256").update(JSON.stringify(source)).digest("hex").slice(0, 16);
  return version;
}
