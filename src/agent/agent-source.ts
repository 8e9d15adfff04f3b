import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Where guest/agent.py is: beside `src` in a checkout, beside `dist` in the published package. */
export function agentSourcePath(): string {
  return fileURLToPath(new URL("../../guest/agent.py", import.meta.url));
}

let version: string | undefined;

/** Names the agent's content: what was prepared with another one is out of date. */
export function agentVersion(): string {
  version ??= createHash("sha256").update(readFileSync(agentSourcePath())).digest("hex").slice(0, 16);
  return version;
}
