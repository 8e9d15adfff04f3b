import { constants } from "node:os";
import { Readable, Writable } from "node:stream";

import { type Call, openStream } from "./calls.ts";
import { type GuestObject, guestInteger, guestString } from "./guest-json.ts";
import type { GuestStream } from "./guest-stream.ts";
import type { Mux } from "./mux.ts";
import type { CallOptions } from "../core/deadline.ts";
import type { CommandExit, ExecRequest, RunningCommand } from "./types.ts";

const stdoutChannel = 1;
const stderrChannel = 2;

/** Starts a command in the guest. The signal also ends the running command, as `kill` would. */
export async function execInGuest(
  mux: Mux,
  request: ExecRequest,
  options: CallOptions = {},
): Promise<RunningCommand> {
  const [program] = request.argv;
  const detached = request.detached !== undefined;
  const call: Call = {
    operation: "exec",
    params: execParams(request),
    what: `running ${program} in the guest`,
  };
  const shape = detached ? {} : { outputs: [stdoutChannel, stderrChannel], input: request.stdin !== false };
  const { stream, opened } = await openStream(mux, call, shape, options);
  const pid = await mux.read(() => guestInteger(opened, "pid", 1, 2 ** 31));
  const exit = mux.read(async () => commandExit(await stream.result));
  exit.catch(() => {}); // whoever waits for it hears of it
  const { stdin, stdout, stderr } = detached ? noStreams() : commandStreams(stream);
  // Without an input of its own, the command's stdin is at its end; a terminal has no stderr.
  return {
    pid,
    stdin,
    stdout,
    stderr,
    exit,
    kill: (signal) => stream.control({ signal }),
    resize: (size) => stream.control({ resize: { cols: size.cols, rows: size.rows } }),
  };
}

function execParams(request: ExecRequest): Record<string, unknown> {
  return {
    argv: request.argv,
    env: request.env,
    cwd: request.cwd,
    user: request.user,
    terminal: request.terminal && { cols: request.terminal.cols, rows: request.terminal.rows },
    timeout_ms: request.timeoutMs,
    stdin: request.stdin,
    detached: request.detached && {
      stdout_path: request.detached.stdoutPath,
      stderr_path: request.detached.stderrPath,
    },
  };
}

interface CommandStreams {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
}

function commandStreams(stream: GuestStream): CommandStreams {
  return {
    stdin: stream.input?.writable ?? noInput(),
    stdout: stream.output(stdoutChannel).readable,
    stderr: stream.output(stderrChannel).readable,
  };
}

function noStreams(): CommandStreams {
  return { stdin: noInput(), stdout: Readable.from([]), stderr: Readable.from([]) };
}

function noInput(): Writable {
  return new Writable({ write: (_chunk, _encoding, callback) => callback() }).end();
}

function commandExit(result: GuestObject): CommandExit {
  const timedOut = result["timed_out"] === true;
  if (result["signal"] === null || result["signal"] === undefined) {
    return { code: guestInteger(result, "code", 0, 255), signal: undefined, timedOut };
  }
  const signal = guestString(result, "signal", 32);
  if (isSignal(signal)) return { code: undefined, signal, timedOut };
  // A signal that Node has no name for (the real-time ones): told as a shell would.
  return { code: 128 + guestInteger(result, "signal_number", 1, 64), signal: undefined, timedOut };
}

function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(constants.signals, name);
}
