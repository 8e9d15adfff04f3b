/** Runs a command in a sandbox. */
import type { RunningCommand, TerminalSize } from "../agent/types.ts";
import { InvalidArgumentError } from "../errors/index.ts";
import { checkEnvironment } from "./guest-values.ts";
import { type LiveSandbox, standingOf } from "./registry.ts";
import { needsTransition } from "./states.ts";

export interface CommandRequest {
  /** A shell's command line; with `args`, a program that no shell sees. */
  command: string;
  args?: readonly string[] | undefined;
  /** Absent: the sandbox's working directory. */
  cwd?: string | undefined;
  /** On top of the sandbox's own. */
  env?: Readonly<Record<string, string>> | undefined;
  user?: string | undefined;
  timeoutMs?: number | undefined;
  terminal?: TerminalSize | undefined;
}

/** The sandbox must be running. The signal ends the start of the command; a command that runs is ended by `kill`. */
export async function execInSandbox(
  sandbox: LiveSandbox,
  request: CommandRequest,
  signal: AbortSignal,
): Promise<RunningCommand> {
  const { record } = sandbox;
  needsTransition(standingOf(sandbox), "use");
  checkEnvironment("env", request.env ?? {});
  const texts = [request.command, ...(request.args ?? [])];
  if (texts.some((text) => text.includes("\0"))) {
    throw new InvalidArgumentError("command", "the command or one of its arguments contains a NUL byte");
  }
  const agent = await sandbox.session.get(signal);
  return await agent.exec(
    {
      argv:
        request.args === undefined ? ["/bin/sh", "-c", request.command] : [request.command, ...request.args],
      cwd: request.cwd ?? record.spec.workingDirectory,
      env: { ...record.spec.env, ...request.env },
      user: request.user,
      timeoutMs: request.timeoutMs,
      terminal: request.terminal,
    },
    { signal },
  );
}

/** A login shell on a terminal: the user's own where the guest says so, else `sh`. */
export async function openShell(
  sandbox: LiveSandbox,
  request: Pick<CommandRequest, "cwd" | "env" | "user"> & { terminal: TerminalSize },
  signal: AbortSignal,
): Promise<RunningCommand> {
  const command =
    'if command -v bash >/dev/null 2>&1; then exec bash -l; else exec "${SHELL:-/bin/sh}" -l; fi';
  return await execInSandbox(
    sandbox,
    { ...request, command, env: { TERM: "xterm-256color", ...request.env } },
    signal,
  );
}
