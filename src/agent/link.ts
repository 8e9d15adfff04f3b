import type { Duplex } from "node:stream";

import { GuestMisbehavedError } from "./errors.ts";
import { type Frame, FrameParser, type NumberedFrame, encodeFrame, tokenOf } from "./frames.ts";
import {
  ackAfterBytes,
  ackAfterFrames,
  frameCostBytes,
  frameKind,
  maxPayloadBytes,
  replayHardLimitBytes,
  replayLimitBytes,
} from "./wire.ts";

/** More than this waits with its stream, so that a small call is never far behind a bulk transfer. */
const unsentLimitBytes = 256 * 1024;
const empty = Buffer.alloc(0);

export interface LinkEvents {
  /** A frame arrived, in order and once. */
  frame: (frame: Frame) => void;
  /** The pipe is gone; the link keeps what was not acknowledged. */
  down: () => void;
  /** The session cannot go on. */
  fatal: (error: Error) => void;
}

interface Connection {
  pipe: Duplex;
  token: number;
  parser: FrameParser;
  detach: () => void;
}

/**
 * Frames that are numbered, acknowledged and, after the pipe broke, sent again: what is above never notices. Memory is
 * bounded by the replay limit in one direction and by the streams' credits in the other.
 */
export class Link {
  readonly #events: LinkEvents;
  /** Frames after number `#acked`, in order; those up to `#written` are on the present pipe. */
  #kept: Frame[] = [];
  #acked = 0;
  #written = 0;
  #keptBytes = 0;
  #unsentBytes = 0;
  #received = 0;
  #ackBytes = 0;
  #ackFrames = 0;
  #connection: Connection | undefined;
  #pingDue = false;
  #pumpScheduled = false;
  #over = false;
  #waiting: (() => void)[] = [];
  lastReceivedAtMs = performance.now();

  constructor(events: LinkEvents) {
    this.#events = events;
  }

  /** Number of the last frame that arrived: what the next hello tells. */
  get received(): number {
    return this.#received;
  }

  get connected(): boolean {
    return this.#connection !== undefined;
  }

  /** Whether bulk data may be sent now. Calls and credits go in any case. */
  get hasRoom(): boolean {
    return this.#unsentBytes < unsentLimitBytes && this.#keptBytes < replayLimitBytes && !this.#over;
  }

  /** Runs `callback` once when there is room, the longest waiting first. */
  whenRoom(callback: () => void): void {
    this.#waiting.push(callback);
    this.#schedulePump();
  }

  send(kind: number, stream: number, channel = 0, payload: Buffer = empty): void {
    if (this.#over) return;
    const frame = { kind, channel, stream, payload };
    this.#kept.push(frame);
    this.#keptBytes += costOf(frame);
    this.#unsentBytes += costOf(frame);
    if (this.#keptBytes > replayHardLimitBytes) {
      this.#events.fatal(new GuestMisbehavedError("it does not acknowledge what it is sent"));
      return;
    }
    this.#schedulePump();
  }

  /** Asks for a sign of life. */
  ping(): void {
    this.#pingDue = true;
    this.#schedulePump();
  }

  /** Takes a pipe whose agent has answered the hello; `peerReceived` is the last frame that it has. */
  attach(pipe: Duplex, nonce: Buffer, peerReceived: number, rest: Buffer): void {
    if (peerReceived < this.#acked || peerReceived > this.#acked + this.#kept.length) {
      pipe.destroy();
      throw new GuestMisbehavedError(`it says it has received frame ${peerReceived}, which cannot be`);
    }
    this.#dropAcknowledged(peerReceived);
    this.#written = this.#acked;
    this.#unsentBytes = this.#keptBytes;
    const down = () => this.#down();
    const data = (chunk: Buffer) => this.#arrived(chunk);
    const drain = () => this.#pump();
    pipe.on("data", data).on("drain", drain).on("close", down).on("end", down);
    const detach = () => {
      pipe.off("data", data).off("drain", drain).off("close", down).off("end", down);
      pipe.destroy();
    };
    this.#connection = { pipe, token: tokenOf(nonce), parser: new FrameParser(nonce), detach };
    this.#ackBytes = this.#ackFrames = 0;
    this.lastReceivedAtMs = performance.now();
    if (rest.length > 0) this.#arrived(rest);
    pipe.resume();
    this.#pump();
  }

  /** What the guest said cannot be: the session ends. */
  fail(error: Error): void {
    this.#events.fatal(error);
  }

  /** Gives the pipe up, as if it had broken. */
  drop(): void {
    this.#down();
  }

  /** The session is over: nothing is kept. With `farewell`, the agent is told first, within a second. */
  async close(farewell: boolean): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    this.#kept = [];
    for (const callback of this.#waiting.splice(0)) callback(); // they see that their stream is over
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) return;
    const { pipe, token, detach } = connection;
    if (farewell && !pipe.destroyed) await sendFarewell(pipe, token);
    detach();
  }

  #schedulePump(): void {
    if (this.#pumpScheduled) return;
    this.#pumpScheduled = true;
    queueMicrotask(() => {
      this.#pumpScheduled = false;
      this.#pump();
    });
  }

  /** Writes what the pipe takes, then lets those continue who wait for room. */
  #pump(): void {
    this.#write();
    while (this.#waiting.length > 0 && this.hasRoom) {
      this.#waiting.shift()?.();
      if (!this.hasRoom) this.#write();
    }
    this.#write();
  }

  #write(): void {
    while (this.#connection !== undefined && !this.#connection.pipe.writableNeedDrain) {
      const bytes = this.#nextWrite(this.#connection.token);
      if (bytes === undefined) return;
      this.#connection.pipe.write(bytes);
    }
  }

  /** Small frames together in one write, large ones alone. */
  #nextWrite(token: number): Buffer | undefined {
    const parts: Buffer[] = [];
    const own = (kind: number, value: number) =>
      parts.push(encodeFrame(token, 0, { kind, channel: 0, stream: value, payload: empty }));
    if (this.#ackBytes >= ackAfterBytes || this.#ackFrames >= ackAfterFrames) {
      this.#ackBytes = this.#ackFrames = 0;
      own(frameKind.ack, this.#received >>> 0);
    }
    if (this.#pingDue) {
      this.#pingDue = false;
      own(frameKind.ping, 0);
    }
    let size = 0;
    for (;;) {
      const frame = this.#kept[this.#written - this.#acked];
      if (frame === undefined || (size > 0 && size + frame.payload.length > maxPayloadBytes)) break;
      this.#written++;
      this.#unsentBytes -= costOf(frame);
      size += costOf(frame);
      parts.push(encodeFrame(token, this.#written, frame));
    }
    return parts.length > 1 ? Buffer.concat(parts) : parts[0];
  }

  #down(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#connection = undefined;
    connection.detach();
    this.#events.down();
  }

  #arrived(chunk: Buffer): void {
    const connection = this.#connection;
    this.lastReceivedAtMs = performance.now();
    try {
      for (const frame of connection?.parser.parse(chunk) ?? []) {
        this.#take(frame);
        if (this.#connection !== connection) return;
      }
    } catch (error) {
      this.#events.fatal(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    if (this.#ackBytes >= ackAfterBytes || this.#ackFrames >= ackAfterFrames) this.#schedulePump();
  }

  #take(frame: NumberedFrame): void {
    if (frame.kind >= frameKind.ack) {
      this.#takeOwn(frame);
      return;
    }
    const ahead = (frame.number - this.#received - 1) >>> 0;
    if (ahead >= 0x8000_0000) return; // it was sent a second time after a broken pipe
    if (ahead > 0) throw new GuestMisbehavedError(`it left out ${ahead} frames`);
    this.#received++;
    this.#ackFrames++;
    this.#ackBytes += costOf(frame);
    this.#events.frame(frame);
  }

  #takeOwn(frame: NumberedFrame): void {
    if (frame.kind === frameKind.ack) {
      const behind = (this.#written - frame.stream) >>> 0;
      if (behind > this.#written - this.#acked) return; // older than what we know
      this.#dropAcknowledged(this.#written - behind);
      this.#pump();
    } else if (frame.kind === frameKind.bye) {
      throw new GuestMisbehavedError(`it ended the session: ${frame.payload.toString("utf8", 0, 600)}`);
    } else if (frame.kind !== frameKind.pong) {
      throw new GuestMisbehavedError(`it sent a frame of unknown kind ${frame.kind}`);
    }
  }

  #dropAcknowledged(number: number): void {
    for (const frame of this.#kept.splice(0, number - this.#acked)) this.#keptBytes -= costOf(frame);
    this.#acked = number;
  }
}

function sendFarewell(pipe: Duplex, token: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000);
    const bye = encodeFrame(token, 0, { kind: frameKind.bye, channel: 0, stream: 0, payload: empty });
    pipe.once("close", resolve).write(bye, () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function costOf(frame: Frame): number {
  return frame.payload.length + frameCostBytes;
}
