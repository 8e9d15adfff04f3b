/** Runs the preparation's scripts in the guest. */
import type { Readable } from "node:stream";

import type { AgentSession } from "../../../agent/types.ts";
import { HeyvmError } from "../../../errors/index.ts";

/** A script of the preparation failed in the guest. */
class GuestScriptError extends HeyvmError {
  constructor(script: string, how: string, output: string) {
    const line = script.split("\n").find((line) => line !== "" && line !== "set -eu") ?? "";
    super("guest_failed", `a script in the guest (${line}…) ${how}: ${output.trim().slice(-2000)}`);
  }
}

/** More than this of a script's output is not kept. */
const maxOutputBytes = 65_536;

/** Runs a script with `sh`; throws when it fails unless `check` is false. */
export async function runInGuest(
  agent: AgentSession,
  script: string,
  timeoutMs: number,
  signal: AbortSignal,
  { check = true }: { check?: boolean } = {},
): Promise<{ code: number | undefined; output: string }> {
  const env = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
  // The agent keeps the time; ours is a little longer, should it not.
  const ours = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs + 30_000)]);
  const command = await agent.exec({ argv: ["sh", "-c", script], env, timeoutMs }, { signal: ours });
  const onAbort = () => command.kill("SIGKILL");
  ours.addEventListener("abort", onAbort, { once: true });
  try {
    command.stdin.end();
    const [output, errors, exit] = await Promise.all([
      collect(command.stdout),
      collect(command.stderr),
      command.exit,
    ]);
    const all = output + errors;
    if (exit.timedOut) throw new GuestScriptError(script, `took longer than ${timeoutMs / 1000} s`, all);
    if (check && exit.code !== 0) {
      throw new GuestScriptError(script, `ended with ${exit.code ?? exit.signal ?? "no exit code"}`, all);
    }
    return { code: exit.code, output: all };
  } finally {
    ours.removeEventListener("abort", onAbort);
  }
}

async function collect(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk);
    chunks.push(bytes);
    length += bytes.length;
    while (length > maxOutputBytes && chunks.length > 1) length -= chunks.shift()?.length ?? 0;
  }
  return Buffer.concat(chunks).toString("utf8");
}
