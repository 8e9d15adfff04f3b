/** Runs the preparation's scripts in the guest. */
import { type AgentSession, type EndedCommand, runToEnd } from "../../../agent/index.ts";
import { HeyvmError } from "../../../errors/index.ts";

/** A script of the preparation failed in the guest. */
class GuestScriptError extends HeyvmError {
  constructor(script: string, how: string, output: string) {
    const line = script.split("\n").find((line) => line !== "" && line !== "set -eu") ?? "";
    super("guest_failed", `a script in the guest (${line}…) ${how}: ${output.trim().slice(-2000)}`);
  }
}

/** Runs a script with `sh`; throws when it fails unless `check` is false. */
export async function runInGuest(
  agent: AgentSession,
  script: string,
  timeoutMs: number,
  signal: AbortSignal,
  { check = true }: { check?: boolean } = {},
): Promise<EndedCommand> {
  const env = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
  const ended = await runToEnd(agent, { argv: ["sh", "-c", script], env, timeoutMs }, { signal });
  const { code, output } = ended;
  if (ended.timedOut) throw new GuestScriptError(script, `took longer than ${timeoutMs / 1000} s`, output);
  if (check && code !== 0) {
    throw new GuestScriptError(script, `ended with ${code ?? ended.signal ?? "no exit code"}`, output);
  }
  return ended;
}
