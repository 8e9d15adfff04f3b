import { GuestMisbehavedError, SessionLostError } from "./errors.ts";
import {
  agentMagic,
  headerBytes,
  maxHelloBytes,
  maxPayloadBytes,
  nonceBytes,
  preambleBytes,
  trailerBytes,
} from "./wire.ts";

/** A frame without its number and token, which belong to the link. */
export interface Frame {
  kind: number;
  channel: number;
  stream: number;
  payload: Buffer;
}

/** A frame as it came, with its number's low 32 bits (0 for the link's own frames). */
export interface NumberedFrame extends Frame {
  number: number;
}

/** The bytes before a payload. The token tells this connection's frames from the remains of an earlier one. */
export function encodeHeader(token: number, number: number, frame: Frame): Buffer {
  const header = Buffer.allocUnsafe(headerBytes);
  header.writeUInt32BE(token, 0);
  header.writeUInt32BE(number >>> 0, 4);
  header.writeUInt8(frame.kind, 8);
  header.writeUInt8(frame.channel, 9);
  header.writeUInt16BE(0, 10);
  header.writeUInt32BE(frame.stream, 12);
  header.writeUInt32BE(frame.payload.length, 16);
  return header;
}

/** A whole frame in one buffer. */
export function encodeFrame(token: number, number: number, frame: Frame): Buffer {
  const trailer = Buffer.allocUnsafe(trailerBytes);
  trailer.writeUInt32BE(token, 0);
  return Buffer.concat([encodeHeader(token, number, frame), frame.payload, trailer]);
}

/** What an agent says when it starts: in place of the host's nonce, zeros. */
const announcement = Buffer.concat([agentMagic, Buffer.alloc(nonceBytes)]);

/** Splits a byte stream into frames, holding at most one frame and one chunk. */
export class FrameParser {
  readonly #token: number;
  /** How a further answer to the same hello begins: it may come between two frames and is passed over. */
  readonly #greeting: Buffer;
  #rest: Buffer = Buffer.alloc(0);

  constructor(nonce: Buffer) {
    this.#token = tokenOf(nonce);
    this.#greeting = Buffer.concat([agentMagic, nonce]);
  }

  /** The frames that `chunk` completes. Throws `guest_misbehaved` for what cannot be a frame, `SessionLostError` for a new agent. */
  *parse(chunk: Buffer): Generator<NumberedFrame> {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = Buffer.alloc(0);
    const whole = bytes.length;
    for (;;) {
      const total = this.#frameBytes(bytes);
      if (total === undefined || bytes.length < total) break;
      if (bytes[0] !== 0) yield frameOf(bytes.subarray(0, total), whole);
      bytes = bytes.subarray(total);
    }
    // A copy, so that a few bytes don't keep a large chunk alive.
    this.#rest = Buffer.from(bytes);
  }

  /** Length of the frame at the start of `bytes`, checked as far as it is there; `undefined` while unknown. */
  #frameBytes(bytes: Buffer): number | undefined {
    if (bytes[0] === 0) return this.#greetingBytes(bytes);
    if (bytes.length < headerBytes) return undefined;
    const length = bytes.readUInt32BE(16);
    if (bytes.readUInt32BE(0) !== this.#token || bytes.readUInt16BE(10) !== 0) {
      throw new GuestMisbehavedError("it sent bytes that are no frame");
    }
    if (length > maxPayloadBytes) {
      throw new GuestMisbehavedError(
        `it announced a frame of ${length} bytes; ${maxPayloadBytes} is the limit`,
      );
    }
    const total = headerBytes + length + trailerBytes;
    if (bytes.length >= total && bytes.readUInt32BE(total - trailerBytes) !== this.#token) {
      throw new GuestMisbehavedError("it sent a frame without its end mark");
    }
    return total;
  }

  #greetingBytes(bytes: Buffer): number | undefined {
    const known = Math.min(bytes.length, announcement.length);
    const isAnnouncement = bytes.subarray(0, known).equals(announcement.subarray(0, known));
    if (isAnnouncement && known === announcement.length) {
      throw new SessionLostError("the agent has been started anew");
    }
    if (!isAnnouncement && !bytes.subarray(0, known).equals(this.#greeting.subarray(0, known))) {
      throw new GuestMisbehavedError("it sent bytes that are no frame");
    }
    if (bytes.length < preambleBytes) return undefined;
    const length = bytes.readUInt32BE(agentMagic.length + nonceBytes);
    if (length > maxHelloBytes) throw new GuestMisbehavedError("it sent a greeting without end");
    return preambleBytes + length;
  }
}

/** What marks a connection's frames: the first bytes of its nonce, never beginning with 0. */
export function tokenOf(nonce: Buffer): number {
  return nonce.readUInt32BE(0);
}

function frameOf(bytes: Buffer, chunkBytes: number): NumberedFrame {
  const payload = bytes.subarray(headerBytes, bytes.length - trailerBytes);
  return {
    number: bytes.readUInt32BE(4),
    kind: bytes.readUInt8(8),
    channel: bytes.readUInt8(9),
    stream: bytes.readUInt32BE(12),
    // A small payload is copied out, so that it doesn't keep the whole chunk alive while it waits for a reader.
    payload: payload.length < chunkBytes / 2 ? Buffer.from(payload) : payload,
  };
}
