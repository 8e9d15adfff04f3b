/**
 * An interactive shell and what it printed that its client may not have yet. It outlives its client's connection for a
 * while: a client that comes back finds it where it was.
 */
import { randomUUID } from "node:crypto";
import { constants } from "node:os";

import type { WebSocket } from "ws";

import type { CommandExit, RunningCommand } from "../../agent/types.ts";
import { HeyvmError } from "../../errors/index.ts";
import { shellFrame, type ShellServerMessage } from "../schema.ts";
import { writeInput } from "./guest-input.ts";
import { closeWithError, sendFrame, sendMessage } from "./socket-messages.ts";

/** How long a shell waits for its client. */
const keepMs = 60_000;
/**
 * This much of its output is kept until its client acknowledges it; then the shell waits. It does not wait for a client that
 * has never acknowledged anything, or whose input it does not take: then the oldest is given up.
 */
const keptBytesLimit = 1_048_576;
/** Input that the guest does not take yet: below this, its client's orders are still heard. */
const heldInputBytes = 4 * 1_048_576;
/** Kind and sequence number before the bytes of an output frame. */
const headerBytes = 9;
/** RFC 6455, 7.4.1: the connection ended, and nobody had said that it would. */
const brokenConnection = 1006;

export interface ShellSession {
  readonly id: string;
  readonly sandboxId: string;
  readonly shell: RunningCommand;
  /** Its client has lost its connection: since when, on the clock of `performance.now`. */
  readonly waitingSinceMs: number | undefined;
  /** Sends what is kept, then what comes; a client from before is told that it was replaced. `socket` is not closed yet. */
  attach(socket: WebSocket, requestId: string): void;
  /** Whether this is its client: one that was replaced has no say any more. */
  serves(socket: WebSocket): boolean;
  type(bytes: Buffer): void;
  /** The client has all output up to this sequence number. */
  acknowledge(sequence: number): void;
  hangUp(): void;
}

/** Another connection has the shell. */
export class ShellTakenError extends HeyvmError {
  constructor() {
    super("wrong_state", "the shell goes on in another connection of its client");
  }
}

interface KeptFrame {
  sequence: number;
  bytes: Buffer;
}

type Outcome = { exitCode: number } | { error: unknown };

/** `onGone` is called when nobody can come back to it any more. */
export function startShellSession(
  sandboxId: string,
  shell: RunningCommand,
  onGone: (id: string) => void,
): ShellSession {
  const id = randomUUID();
  /** In order; the last has the number `produced`. */
  const kept: KeptFrame[] = [];
  let keptBytes = 0;
  let produced = 0;
  /** What the present client was sent. */
  let sent = 0;
  let client: WebSocket | undefined;
  let waitingSinceMs: number | undefined;
  let acknowledges = false;
  let hungUp = false;
  let outcome: Outcome | undefined;
  let patience: NodeJS.Timeout | undefined;
  const sleepers = new Set<() => void>();

  const wake = (): void => {
    for (const go of sleepers) go();
    sleepers.clear();
  };
  const change = async (): Promise<void> => await new Promise<void>((resolve) => sleepers.add(resolve));
  const dropWhile = (isDroppable: (frame: KeptFrame) => boolean): void => {
    let count = 0;
    for (const frame of kept) {
      if (!isDroppable(frame)) break;
      keptBytes -= frame.bytes.length;
      count += 1;
    }
    kept.splice(0, count);
  };
  const hangUp = (): void => {
    if (hungUp) return;
    hungUp = true;
    clearTimeout(patience);
    onGone(id);
    wake();
    shell.kill("SIGHUP");
    shell.kill("SIGKILL");
  };

  const mustWait = (): boolean => {
    if (hungUp) return false;
    if (client !== undefined && sent < produced) return true;
    if (keptBytes < keptBytesLimit) return false;
    // Behind input that the guest does not take there may be acknowledgements that nobody reads: the guest would wait for ever.
    return client === undefined || (acknowledges && !client.isPaused);
  };
  const read = async (): Promise<void> => {
    for await (const chunk of shell.stdout) {
      if (hungUp) continue;
      produced += 1;
      const head = Buffer.alloc(headerBytes);
      head.writeUInt8(shellFrame.output, 0);
      head.writeBigUInt64BE(BigInt(produced), 1);
      const bytes = Buffer.concat([head, chunk]);
      kept.push({ sequence: produced, bytes });
      keptBytes += bytes.length;
      wake();
      while (mustWait()) await change();
      dropWhile(({ sequence }) => keptBytes > keptBytesLimit && sequence <= sent);
    }
  };
  const feed = async (socket: WebSocket, requestId: string): Promise<void> => {
    const isServed = (): boolean => client === socket;
    while (isServed()) {
      const next = kept[kept.length - (produced - sent)];
      if (socket.readyState !== socket.OPEN || (next === undefined && outcome === undefined)) {
        // What one that closes was not sent is for its successor.
        await change();
      } else if (next !== undefined) {
        await sendFrame(socket, next.bytes);
        if (isServed()) sent = next.sequence;
        wake();
      } else if (outcome !== undefined) {
        tellEnd(socket, outcome, requestId);
        return;
      }
    }
  };
  const onClose = (socket: WebSocket, code: number): void => {
    if (client !== socket) return;
    client = undefined;
    waitingSinceMs = performance.now();
    wake();
    // Also one that has ended waits: its client may not have heard of it.
    if (code === brokenConnection && !hungUp) patience = setTimeout(hangUp, keepMs).unref();
    else hangUp();
  };

  const watch = async (): Promise<void> => {
    try {
      const [exit] = await Promise.all([shell.exit, read()]);
      outcome = { exitCode: exitCodeOf(exit) };
    } catch (error) {
      outcome = { error };
    }
    wake();
  };
  void watch();

  return {
    id,
    sandboxId,
    shell,
    get waitingSinceMs() {
      return waitingSinceMs;
    },
    attach(socket, requestId) {
      const before = client;
      client = socket;
      waitingSinceMs = undefined;
      clearTimeout(patience);
      sent = produced - kept.length;
      wake();
      if (before !== undefined) closeWithError(before, new ShellTakenError(), requestId);
      say(socket, { type: "ready", sessionId: id, lastSeq: sent });
      socket.once("close", (code: number) => onClose(socket, code));
      void feed(socket, requestId);
    },
    serves: (socket) => client === socket,
    type(bytes) {
      if (client !== undefined) writeInput(client, shell.stdin, bytes, heldInputBytes);
      wake();
    },
    acknowledge(sequence) {
      acknowledges = true;
      dropWhile((frame) => frame.sequence <= Math.min(sequence, sent));
      wake();
    },
    hangUp,
  };
}

function tellEnd(socket: WebSocket, outcome: Outcome, requestId: string): void {
  if ("error" in outcome) {
    closeWithError(socket, outcome.error, requestId);
  } else {
    say(socket, { type: "exit", code: outcome.exitCode });
    socket.close(1000);
  }
}

function say(socket: WebSocket, message: ShellServerMessage): void {
  sendMessage(socket, message);
}

function exitCodeOf({ code, signal }: CommandExit): number {
  return code ?? 128 + (signal === undefined ? 0 : constants.signals[signal]);
}
