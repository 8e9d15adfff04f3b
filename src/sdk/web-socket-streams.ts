/** Node streams over a web socket with back-pressure both ways. */
import { Readable, Writable } from "node:stream";

import type { WebSocket } from "ws";

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

export function createReadGate(socket: Pick<WebSocket, "pause" | "resume">): ReadGate {
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

/** Resolves when the frame has gone, or is of no use any more. */
export type SendFrame = (frame: Uint8Array) => Promise<unknown>;

/** Returns whether the frame went; when not, the socket closes. */
export async function sendOver(socket: WebSocket, frame: Uint8Array): Promise<boolean> {
  if (socket.readyState !== socket.OPEN) return false;
  return await new Promise<boolean>((resolve) => {
    socket.send(frame, (error) => resolve(error === undefined || error === null));
  });
}

/**
 * A stream whose bytes go out as binary frames that begin with `channel`. A write is done when its frames have gone.
 * `endOfInput` is sent at the end, when given.
 */
export function createFrameWriter(
  send: SendFrame,
  channel: number,
  endOfInput: Uint8Array | undefined,
): Writable {
  const sendAll = async (chunk: Buffer): Promise<void> => {
    for (let offset = 0; offset < chunk.length; offset += frameBytes) {
      const piece = chunk.subarray(offset, offset + frameBytes);
      const frame = Buffer.allocUnsafe(piece.length + 1);
      frame[0] = channel;
      piece.copy(frame, 1);
      await send(frame);
    }
  };
  return new Writable({
    decodeStrings: true,
    write: (chunk: Buffer, _encoding, callback) => void settle(sendAll(chunk), callback),
    final: (callback) =>
      void settle(endOfInput === undefined ? Promise.resolve() : send(endOfInput), callback),
  });
}

/** A send does not fail: the end of its socket tells what was wrong. */
async function settle(work: Promise<unknown>, done: () => void): Promise<void> {
  await work;
  done();
}
