/** An interactive shell in a sandbox, on a terminal of its own. */
import type { Readable, Writable } from "node:stream";

import { createDeferred } from "../core/deferred.ts";
import type { TerminalSize } from "./commands.ts";
import { type Endpoint, sandboxPath } from "./endpoint.ts";
import { createShellLink } from "./shell-link.ts";
import { createFrameWriter, createReadGate } from "./web-socket-streams.ts";

export interface ShellOptions extends Partial<TerminalSize> {
  env?: Readonly<Record<string, string>> | undefined;
  cwd?: string | undefined;
  user?: string | undefined;
  /** Told when its connection breaks, and when it has come back. */
  onConnection?: ((state: "broken" | "back") => void) | undefined;
  /** Closes the shell. */
  signal?: AbortSignal | undefined;
}

/**
 * An open shell. `await using` closes it. When its connection breaks, it comes back by itself for up to a minute, with what
 * was printed meanwhile; keys that were on their way in that moment may be lost.
 */
export interface Shell extends AsyncDisposable {
  /** Keys typed. */
  readonly input: Writable;
  /** What the terminal shows. */
  readonly output: Readable;
  /** The shell's exit code; rejects when the shell is lost with its daemon, or its connection does not come back. */
  readonly exit: Promise<number>;
  resize(size: TerminalSize): void;
  close(): void;
}

const frame = { input: 1, output: 2 } as const;
/** Output frames begin with their kind and a big-endian u64 sequence number. */
const outputHeaderBytes = 9;
/** The daemon keeps output that was not acknowledged, for a client that comes back. */
const acknowledgeEveryBytes = 65_536;
/** Shown where the daemon could not keep everything: the guest had not taken its input meanwhile. */
const lostOutput = "\r\n[heyvm: output was lost with the connection]\r\n";

/** Opens a shell; resolves when it is ready. Default size: 80 by 24. */
export async function openShell(
  endpoint: Endpoint,
  sandbox: string,
  options: ShellOptions = {},
): Promise<Shell> {
  const { signal, onConnection, cols = 80, rows = 24, ...start } = options;
  let size: TerminalSize = { cols, rows };
  let toldSize = size;
  let isBroken = false;
  let received = 0n;
  let unacknowledged = 0;
  const exit = createDeferred<number>();
  // Whoever doesn't look at `exit` has asked for no verdict; its failure must not end the process.
  exit.promise.catch(() => undefined);

  /** What the listener throws is its own: it must not stop a shell half-way back. */
  const tell = (state: "broken" | "back"): void => queueMicrotask(() => onConnection?.(state));
  // Also at once, as the daemon gives up what is old of a client that never does; and again after what was lost on its way.
  const acknowledge = (): void => {
    unacknowledged = 0;
    link.say({ type: "ack", seq: Number(received) });
  };
  const link = createShellLink(endpoint, `${sandboxPath(sandbox)}/shell-stream`, {
    signal,
    init(sessionId) {
      toldSize = size;
      return { ...size, ...(sessionId === undefined ? start : { sessionId }) };
    },
    onReady(lastSeq) {
      if (isBroken) tell("back");
      isBroken = false;
      if (size !== toldSize) link.say({ type: "resize", ...size });
      if (BigInt(lastSeq) > received) gate.deliver(output, Buffer.from(lostOutput));
      acknowledge();
    },
    onBreak() {
      isBroken = true;
      tell("broken");
    },
    onFrame(data) {
      if (data[0] !== frame.output || data.length < outputHeaderBytes) return;
      const sequence = data.readBigUInt64BE(1);
      // Else it had come before the connection broke, and its acknowledgement was lost.
      if (sequence > received) {
        received = sequence;
        gate.deliver(output, data.subarray(outputHeaderBytes));
      }
      unacknowledged += data.length - outputHeaderBytes;
      if (unacknowledged >= acknowledgeEveryBytes) acknowledge();
    },
    onEnd(end) {
      if (typeof end === "number") exit.resolve(end);
      else exit.reject(end);
      gate.end();
      input.destroy();
    },
  });
  const gate = createReadGate(link);
  const output = gate.readable();
  const input = createFrameWriter(link.send, frame.input, undefined);
  await link.open();
  return {
    input,
    output,
    exit: exit.promise,
    resize(next) {
      size = next;
      link.say({ type: "resize", ...next });
    },
    close: link.leave,
    [Symbol.asyncDispose]: async () => {
      link.leave();
      await exit.promise.catch(() => undefined);
    },
  };
}
