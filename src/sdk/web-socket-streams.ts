/** Node streams over a web socket with back-pressure both ways. */
import { Readable, Writable } from "node:stream";

import type { WebSocket } from "ws";

import { messageOf } from "../errors/thrown.ts";

/** Largest piece of input in one frame. */
const frameBytes = 65_536;

/** Pauses the socket while any of its readers is full, and goes on when all have room. */
export interface ReadGate {
  /** A stream whose content is given by `deliver`. */
  readable(): Readable;
  deliver(stream: Readable, bytes: Uint8Array): void;
  /** Ends all streams. */
  end(): void;
}

export function createReadGate(socket: WebSocket): ReadGate {
  const full = new Set<Readable>();
  const streams: Readable[] = [];
  const release = (stream: Readable): void => {
    if (full.delete(stream) && full.size === 0) socket.resume();
  };
  return {
    readable() {
      const stream: Readable = new Readable({
        read: () => release(stream),
        // A reader who goes away must not hold up the others.
        destroy(error, callback) {
          release(stream);
          callback(error);
        },
      });
      streams.push(stream);
      return stream;
    },
    deliver(stream, bytes) {
      if (stream.destroyed || stream.readableEnded || bytes.length === 0) return;
      if (stream.push(bytes)) return;
      full.add(stream);
      socket.pause();
    },
    end() {
      for (const stream of streams) if (!stream.destroyed) stream.push(null);
    },
  };
}

/**
 * A stream whose bytes go out as binary frames that begin with `channel`. A write is done when the socket has taken it.
 * `endOfInput` is sent at the end, when given.
 */
export function createFrameWriter(
  socket: WebSocket,
  channel: number,
  endOfInput: Uint8Array | undefined,
): Writable {
  const send = (frame: Uint8Array): Promise<void> =>
    new Promise((resolve, reject) => {
      // The command may end before it has read its input, as with a pipe: the rest goes nowhere.
      if (socket.readyState !== socket.OPEN) resolve();
      else socket.send(frame, (error) => (error === undefined || error === null ? resolve() : reject(error)));
    });
  const sendAll = async (chunk: Buffer): Promise<void> => {
    for (let offset = 0; offset < chunk.length; offset += frameBytes) {
      const piece = chunk.subarray(offset, offset + frameBytes);
      const frame = Buffer.allocUnsafe(piece.length + 1);
      frame[0] = channel;
      piece.copy(frame, 1);
      await send(frame);
    }
  };
  const settle = async (work: Promise<void>, done: (error?: Error | null) => void): Promise<void> => {
    const failure = await work.then(
      () => null,
      (error: unknown) =>
        socket.readyState === socket.OPEN ? new Error(messageOf(error), { cause: error }) : null,
    );
    done(failure);
  };
  return new Writable({
    decodeStrings: true,
    write: (chunk: Buffer, _encoding, callback) => void settle(sendAll(chunk), callback),
    final: (callback) =>
      void settle(endOfInput === undefined ? Promise.resolve() : send(endOfInput), callback),
  });
}
