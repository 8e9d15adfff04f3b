/** An interactive shell in a sandbox, on a terminal of its own. */
import type { Readable, Writable } from "node:stream";

import type { ShellServerMessage } from "../api/schema.ts";
import { AbortedError } from "../errors/index.ts";
import type { TerminalSize } from "./commands.ts";
import { answeredError } from "./daemon-lost.ts";
import { createDeferred } from "../core/deferred.ts";
import { type Endpoint, sandboxPath } from "./endpoint.ts";
import { createFrameWriter, createReadGate } from "./web-socket-streams.ts";
import { brokenOff, openWebSocket } from "./web-socket.ts";
import { parseMessage } from "./wire.ts";

export interface ShellOptions extends Partial<TerminalSize> {
  env?: Readonly<Record<string, string>> | undefined;
  cwd?: string | undefined;
  user?: string | undefined;
  /** Closes the shell. */
  signal?: AbortSignal | undefined;
}

/** An open shell. `await using` closes it. */
export interface Shell extends AsyncDisposable {
  /** Keys typed. */
  readonly input: Writable;
  /** What the terminal shows. */
  readonly output: Readable;
  /** The shell's exit code; rejects when the connection is lost. */
  readonly exit: Promise<number>;
  resize(size: TerminalSize): void;
  close(): void;
}

const frame = { input: 1, output: 2 } as const;
/** Output frames begin with their kind and a big-endian u64 sequence number. */
const outputHeaderBytes = 9;
/** The daemon keeps output that was not acknowledged, for a client that comes back. */
const acknowledgeEveryBytes = 65_536;

/** Opens a shell; resolves when it is ready. Default size: 80 by 24. */
export async function openShell(
  endpoint: Endpoint,
  sandbox: string,
  options: ShellOptions = {},
): Promise<Shell> {
  const { signal, cols = 80, rows = 24, ...rest } = options;
  const path = `${sandboxPath(sandbox)}/shell-stream`;
  const socket = await openWebSocket(endpoint, path, { signal });
  const gate = createReadGate(socket);
  const output = gate.readable();
  const input = createFrameWriter(socket, frame.input, undefined);
  const sendText = (message: object): void => {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
  };
  const onAbort = (): void => socket.terminate();
  const ready = createDeferred<void>();
  const exit = createDeferred<number>();
  exit.promise.catch(() => undefined);
  const finish = (error: Error | undefined, code = 0): void => {
    signal?.removeEventListener("abort", onAbort);
    if (error === undefined) {
      exit.resolve(code);
      // Nothing if it was ready, as it should have been.
      ready.reject(brokenOff(endpoint, path, 1000, "exit before ready"));
    } else {
      ready.reject(error);
      exit.reject(error);
    }
    gate.end();
    input.destroy();
    socket.close();
  };

  let unacknowledged = 0;
  socket.on("message", (data: Buffer, isBinary: boolean) => {
    if (isBinary) {
      if (data[0] !== frame.output || data.length < outputHeaderBytes) return;
      gate.deliver(output, data.subarray(outputHeaderBytes));
      unacknowledged += data.length - outputHeaderBytes;
      if (unacknowledged >= acknowledgeEveryBytes) {
        unacknowledged = 0;
        sendText({ type: "ack", seq: Number(data.readBigUInt64BE(1)) });
      }
      return;
    }
    const message = parseMessage<ShellServerMessage>(data.toString("utf8"));
    if (message.type === "ready") ready.resolve();
    else if (message.type === "error") finish(answeredError(endpoint, `WS ${path}`, message));
    else finish(undefined, message.code);
  });
  socket.on("error", () => undefined);
  socket.on("close", (code, reason) =>
    finish(
      signal?.aborted === true
        ? new AbortedError("the shell", signal.reason)
        : brokenOff(endpoint, path, code, reason.toString()),
    ),
  );
  signal?.addEventListener("abort", onAbort, { once: true });
  socket.resume();

  sendText({ type: "init", cols, rows, ...rest });
  await ready.promise;
  const close = (): void => {
    sendText({ type: "close" });
    socket.close();
  };
  return {
    input,
    output,
    exit: exit.promise,
    resize: (size) => sendText({ type: "resize", ...size }),
    close,
    [Symbol.asyncDispose]: async () => {
      close();
      await exit.promise.catch(() => undefined);
    },
  };
}
