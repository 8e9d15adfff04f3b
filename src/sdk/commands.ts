/** Commands in a sandbox: `spawn` streams, `exec` waits and gathers. */
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";

import type { ExecInit, ExecServerMessage } from "../api/schema.ts";
import { AbortedError } from "../errors/index.ts";
import { errnoOf } from "../errors/thrown.ts";
import { answeredError } from "./daemon-lost.ts";
import { createDeferred } from "../core/deferred.ts";
import { type Endpoint, sandboxPath } from "./endpoint.ts";
import { createFrameWriter, createReadGate, sendOver } from "./web-socket-streams.ts";
import { brokenOff, openWebSocket } from "./web-socket.ts";
import { parseMessage } from "./wire.ts";

export interface TerminalSize {
  cols: number;
  rows: number;
}

export interface CommandOptions {
  /** Added to the sandbox's environment. */
  env?: Readonly<Record<string, string>> | undefined;
  /** Default: the sandbox's working directory. */
  cwd?: string | undefined;
  /** User name or numeric id in the guest. Default: root. */
  user?: string | undefined;
  /** After this long the whole process group is killed; what it printed so far is delivered. Default: none. */
  timeoutMs?: number | undefined;
  /** Ends the command and rejects. */
  signal?: AbortSignal | undefined;
}

export interface SpawnOptions extends CommandOptions {
  /** False: the command's stdin is closed from the start. Default: true. */
  stdin?: boolean | undefined;
  /** The command gets a terminal of this size; stdout carries all its output. */
  terminal?: TerminalSize | undefined;
}

export interface ExecOptions extends CommandOptions {
  /** Given to the command's stdin, which is then closed. A stream is read when the command has started. */
  input?: string | Uint8Array | Readable | undefined;
  /** Bytes kept of each output; the rest is read and dropped. Default: 64 MiB. */
  maxOutputBytes?: number | undefined;
}

export interface CommandStatus {
  /** `null` when a signal ended it. */
  exitCode: number | null;
  /** `SIGKILL`, … when a signal ended it. */
  signal: NodeJS.Signals | null;
  /** Its own timeout ended it. */
  timedOut: boolean;
}

export interface CommandResult extends CommandStatus {
  stdout: string;
  stderr: string;
  /** `maxOutputBytes` was reached, and output was dropped. */
  truncated: boolean;
}

/** A command that runs. Read both outputs (or `resume()` them): an unread one that is full holds up the other. */
export interface RunningCommand {
  readonly pid: number;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Settles when the command has ended; rejects only when the connection is lost or the signal ended it. */
  readonly exit: Promise<CommandStatus>;
  /** Sends a signal to the whole process group. */
  kill(signal?: NodeJS.Signals): void;
  resize(size: TerminalSize): void;
}

const defaultMaxOutputBytes = 64 * 1_048_576;
const channels = { stdin: 0, stdout: 1, stderr: 2 } as const;

/** Starts a command; resolves when it runs. Without `args`, `command` is a shell command line. */
export async function spawnCommand(
  endpoint: Endpoint,
  sandbox: string,
  command: string,
  args: readonly string[] | undefined,
  options: SpawnOptions = {},
): Promise<RunningCommand> {
  const { signal } = options;
  const path = `${sandboxPath(sandbox)}/exec`;
  const socket = await openWebSocket(endpoint, path, { signal });
  const gate = createReadGate(socket);
  const stdout = gate.readable();
  const stderr = gate.readable();
  // The command may end before it has read its input, as with a pipe: the rest goes nowhere.
  const stdin = createFrameWriter(
    (bytes) => sendOver(socket, bytes),
    channels.stdin,
    Uint8Array.of(channels.stdin),
  );
  const sendText = (message: object): void => {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
  };

  const onAbort = (): void => socket.terminate();
  const started = createDeferred<number>();
  const exit = createDeferred<CommandStatus>();
  // Whoever doesn't look at `exit` has asked for no verdict; its failure must not end the process.
  exit.promise.catch(() => undefined);
  const finish = (error: Error | undefined, status?: CommandStatus): void => {
    signal?.removeEventListener("abort", onAbort);
    if (error !== undefined) {
      started.reject(error);
      exit.reject(error);
    } else if (status !== undefined) {
      exit.resolve(status);
      // Nothing if it has started, as it should have.
      started.reject(brokenOff(endpoint, path, 1000, "exit before start"));
    }
    gate.end();
    stdin.destroy();
    socket.close();
  };

  socket.on("message", (data: Buffer, isBinary: boolean) => {
    if (isBinary) {
      gate.deliver(data[0] === channels.stderr ? stderr : stdout, data.subarray(1));
      return;
    }
    const message = parseMessage<ExecServerMessage>(data.toString("utf8"));
    if (message.type === "started") started.resolve(message.pid);
    else if (message.type === "error") finish(answeredError(endpoint, `WS ${path}`, message));
    else finish(undefined, toStatus(message));
  });
  socket.on("error", () => undefined);
  socket.on("close", (code, reason) =>
    finish(
      signal?.aborted === true
        ? new AbortedError(`the command ${command}`, signal.reason)
        : brokenOff(endpoint, path, code, reason.toString()),
    ),
  );
  signal?.addEventListener("abort", onAbort, { once: true });
  socket.resume();

  sendText(execInit(command, args, options));
  const pid = await started.promise;
  return {
    pid,
    stdin,
    stdout,
    stderr,
    exit: exit.promise,
    kill: (name = "SIGTERM") => sendText({ type: "signal", signal: name }),
    resize: (size) => sendText({ type: "resize", ...size }),
  };
}

/** Runs a command to its end and gathers its outputs. A non-zero exit is a result, not an error. */
export async function execCommand(
  endpoint: Endpoint,
  sandbox: string,
  command: string,
  args: readonly string[] | undefined,
  options: ExecOptions = {},
): Promise<CommandResult> {
  const { input, maxOutputBytes = defaultMaxOutputBytes, ...rest } = options;
  const running = await spawnCommand(endpoint, sandbox, command, args, {
    ...rest,
    stdin: input !== undefined,
  });
  if (input !== undefined && !(input instanceof Readable)) running.stdin.end(input);
  const [stdout, stderr, status] = await Promise.all([
    gather(running.stdout, maxOutputBytes),
    gather(running.stderr, maxOutputBytes),
    running.exit,
    input instanceof Readable ? feed(running, input) : undefined,
  ]);
  return {
    ...status,
    stdout: stdout.text,
    stderr: stderr.text,
    truncated: stdout.truncated || stderr.truncated,
  };
}

/** Fails, and ends the command, when the input does. */
async function feed(running: RunningCommand, input: Readable): Promise<void> {
  try {
    await pipeline(input, running.stdin);
  } catch (error) {
    // A command may end before it has read its input: that is no failure.
    if (errnoOf(error) === "ERR_STREAM_PREMATURE_CLOSE") return;
    running.kill("SIGKILL");
    throw error;
  }
}

function execInit(command: string, args: readonly string[] | undefined, options: SpawnOptions): ExecInit {
  return {
    type: "init",
    command,
    ...(args === undefined ? {} : { args: [...args] }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: { ...options.env } }),
    ...(options.user === undefined ? {} : { user: options.user }),
    ...(options.timeoutMs === undefined ? {} : { timeout_ms: options.timeoutMs }),
    stdin: options.stdin ?? true,
    ...(options.terminal === undefined ? {} : { terminal: options.terminal }),
  };
}

function toStatus(message: {
  code: number | null;
  signal: string | null;
  timed_out: boolean;
}): CommandStatus {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the schema promises the name of a signal
  const signal = message.signal as NodeJS.Signals | null;
  return { exitCode: message.code, signal, timedOut: message.timed_out };
}

async function gather(stream: Readable, maxBytes: number): Promise<{ text: string; truncated: boolean }> {
  const chunks: Buffer[] = [];
  let kept = 0;
  let truncated = false;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const piece = chunk.subarray(0, maxBytes - kept);
    truncated ||= piece.length < chunk.length;
    kept += piece.length;
    if (piece.length > 0) chunks.push(piece);
  }
  return { text: Buffer.concat(chunks).toString("utf8"), truncated };
}
