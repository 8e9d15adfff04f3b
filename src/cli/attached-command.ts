/** A command in a sandbox with this process's stdin, stdout, stderr and signals. */
import { constants } from "node:os";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

import { errnoOf } from "../errors/thrown.ts";
import { HeyvmError } from "../errors/index.ts";
import type { CommandOptions, CommandStatus, RunningCommand, SandboxActions } from "../sdk/index.ts";
import { CommandFailure } from "./command-failure.ts";
import type { Invocation } from "./invocation.ts";
import { formatSpan } from "./output/time.ts";
import { enterRawMode, followTerminalSize, terminalSize } from "./terminal.ts";

export interface AttachOptions extends CommandOptions {
  /** Give the command a terminal. */
  tty: boolean;
  /** Give it this process's stdin. */
  stdin: boolean;
}

/** Exit codes that heyvm gives where the command gave none. */
const timedOutExitCode = 124;
const notRunExitCode = 125;
const notExecutableExitCode = 126;
const notFoundExitCode = 127;
/** So many Ctrl-C end the connection, for a command (or a guest) that doesn't care. */
const patience = 3;

/** Runs to the end; returns the exit code. With `--format json` the result is one document. */
export async function runAttached(
  invocation: Invocation,
  sandbox: SandboxActions,
  argv: readonly [string, ...string[]],
  options: AttachOptions,
): Promise<number> {
  const [program, ...args] = argv;
  const status = await asCommandFailure(() =>
    invocation.json
      ? printResult(invocation, sandbox, program, args, options)
      : stream(invocation, sandbox, program, args, options),
  );
  if (status.timedOut && options.timeoutMs !== undefined && !invocation.json) {
    invocation.note(`heyvm: the command was ended after its timeout of ${formatSpan(options.timeoutMs)}`);
  }
  return exitCodeOfStatus(status);
}

/** What a shell would say: its own code, 128 + n for a signal, 124 for its timeout. */
function exitCodeOfStatus(status: CommandStatus): number {
  if (status.timedOut) return timedOutExitCode;
  if (status.signal !== null) return 128 + (constants.signals[status.signal] ?? 0);
  return status.exitCode ?? 1;
}

/** Marks errors as heyvm's: 125, but for usage and timeouts, which keep their codes; an interruption has its signal's. */
export async function asCommandFailure<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    throw new CommandFailure(error, failureExitCode(error));
  }
}

function failureExitCode(error: unknown): number {
  if (!(error instanceof HeyvmError)) return notRunExitCode;
  switch (error.code) {
    case "command_not_startable":
      return notStartableExitCode(error);
    case "invalid_argument":
      return 2;
    case "timeout":
      return timedOutExitCode;
    default:
      return notRunExitCode;
  }
}

/** As shells have it: 127 when the program (or its interpreter) is missing, 126 when it can't be executed. */
function notStartableExitCode(error: HeyvmError): number {
  switch (error.details?.["reason"]) {
    case "program_not_found":
    case "interpreter_not_found":
      return notFoundExitCode;
    case "not_executable":
    case "arguments_too_long":
      return notExecutableExitCode;
    default:
      return notRunExitCode;
  }
}

async function stream(
  invocation: Invocation,
  sandbox: SandboxActions,
  program: string,
  args: readonly string[],
  { tty, ...options }: AttachOptions,
): Promise<CommandStatus> {
  const giveUp = new AbortController();
  const running = await sandbox.spawn(program, args, {
    ...options,
    ...(tty
      ? { terminal: terminalSize(), env: { TERM: process.env["TERM"] ?? "xterm", ...options.env } }
      : {}),
    signal: AbortSignal.any([giveUp.signal, invocation.signal]),
  });
  let interrupts = 0;
  using _signals = invocation.interruption.takeOver((signal) => {
    running.kill(signal);
    interrupts += signal === "SIGINT" ? 1 : 0;
    if (interrupts === patience) giveUp.abort(signal);
  });
  using raw = tty ? enterRawMode() : undefined;
  using _size = tty ? followTerminalSize((size) => running.resize(size)) : undefined;
  if (options.stdin) void feed(running);
  const outputs = [copy(running.stdout, process.stdout), copy(running.stderr, process.stderr)];
  try {
    const [status] = await Promise.all([running.exit, ...outputs]);
    return status;
  } catch (error) {
    raw?.resetModes();
    throw error;
  }
}

/** The command may end before it has read its input: that is no failure. */
async function feed(running: RunningCommand): Promise<void> {
  await pipeline(process.stdin, running.stdin).catch(() => undefined);
}

async function copy(from: Readable, to: NodeJS.WriteStream): Promise<void> {
  try {
    await pipeline(from, to, { end: false });
  } catch (error) {
    // The reader of our output has gone (see main.ts for EPIPE); anything else is told.
    if (errnoOf(error) !== "EPIPE" && errnoOf(error) !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
  }
}

async function printResult(
  invocation: Invocation,
  sandbox: SandboxActions,
  program: string,
  args: readonly string[],
  { tty: _tty, stdin, ...options }: AttachOptions,
): Promise<CommandStatus> {
  const input = stdin && !process.stdin.isTTY ? process.stdin : undefined;
  const result = await sandbox.exec(program, args, { ...options, input, signal: invocation.signal });
  invocation.printJson({
    stdout: result.stdout,
    stderr: result.stderr,
    exit_code: result.exitCode,
    signal: result.signal,
    timed_out: result.timedOut,
    truncated: result.truncated,
  });
  return result;
}
