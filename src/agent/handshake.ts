import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { crc32 } from "node:zlib";

import { createDeferred } from "../core/deferred.ts";
import { GuestMisbehavedError } from "./errors.ts";
import { type GuestObject, parseGuestJson } from "./guest-json.ts";
import {
  agentMagic,
  hostMagic,
  maxFrameBytes,
  maxHelloBytes,
  maxRemainsBytes,
  nonceBytes,
  preambleBytes,
  protocolVersion,
} from "./wire.ts";

/**
 * When the hello is repeated, after the one before. Only so often: libvirtd reads no more from a client whose five
 * requests wait (`max_client_requests`), as they do as long as a guest that boots reads nothing, and then it does not
 * notice that the client has gone either, and keeps the channel for it.
 */
const repeatAfterMs = [1000, 2000, 4000];

/** What the host says of itself. */
export interface Hello {
  session: string;
  /** Number of the last frame that was received in this session. */
  received: number;
  /** The agent must know the session; otherwise a new one replaces whatever session it has. */
  resume: boolean;
}

export interface Greeting {
  reply: GuestObject;
  nonce: Buffer;
  /** Bytes that came after the answer. */
  rest: Buffer;
}

/**
 * Says hello on a pipe until the agent answers. Remains of an earlier connection, of either direction, may lie in the
 * pipe: everything before the answer with our nonce is thrown away, and from the second hello on (or from the first,
 * with `padFirst`) padding breaks whatever half frame the agent may be in. Rejects when the pipe ends.
 */
export async function sayHello(
  pipe: Duplex,
  hello: Hello,
  signal: AbortSignal,
  padFirst: boolean,
): Promise<Greeting> {
  const nonce = newNonce();
  const words = encodeHello(hello, nonce);
  const scanner = new GreetingScanner(nonce);
  const greeting = createDeferred<Greeting>();
  const data = (chunk: Buffer) => {
    try {
      const found = scanner.scan(chunk);
      if (found === undefined) return;
      pipe.pause();
      pipe.off("data", data);
      greeting.resolve({ ...found, nonce });
    } catch (error) {
      greeting.reject(asError(error));
    }
  };
  const ended = () => greeting.reject(new Error("the pipe was closed before the agent answered"));
  const aborted = () => greeting.reject(asError(signal.reason));
  let timer: NodeJS.Timeout | undefined;
  const repeatLater = ([afterMs, ...later]: readonly number[]) => {
    if (afterMs === undefined) return;
    timer = setTimeout(() => {
      // While the last hello is still in our own buffer, another one is of no use.
      if (pipe.writableLength === 0) pipe.write(Buffer.concat([padding(), words]));
      repeatLater(later);
    }, afterMs);
  };
  repeatLater(repeatAfterMs);
  try {
    if (signal.aborted) aborted();
    signal.addEventListener("abort", aborted, { once: true });
    pipe.on("data", data).on("end", ended).on("close", ended).on("error", greeting.reject);
    // Its end may have come before anybody listened.
    if (pipe.destroyed) ended();
    pipe.write(padFirst ? Buffer.concat([padding(), words]) : words);
    return await greeting.promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", aborted);
    pipe.off("data", data).off("end", ended).off("close", ended).off("error", greeting.reject);
  }
}

/** The bytes of a hello. */
export function encodeHello(hello: Hello, nonce: Buffer): Buffer {
  const body = Buffer.from(JSON.stringify({ protocol: [protocolVersion], ...hello }));
  const head = Buffer.alloc(preambleBytes);
  hostMagic.copy(head, 0);
  nonce.copy(head, hostMagic.length);
  head.writeUInt32BE(body.length, hostMagic.length + nonceBytes);
  head.writeUInt32BE(crc32(body), hostMagic.length + nonceBytes + 4);
  return Buffer.concat([head, body]);
}

/** A nonce whose first byte is not 0: so neither padding nor a preamble is ever taken for a frame. */
export function newNonce(): Buffer {
  const nonce = randomBytes(nonceBytes);
  nonce[0] = (nonce[0] ?? 0) | 0x80;
  return nonce;
}

/** Finds the agent's answer in a stream of anything, unless that has no end. Holds no more than one answer. */
export class GreetingScanner {
  readonly #start: Buffer;
  #bytes: Buffer = Buffer.alloc(0);
  #discardedBytes = 0;

  constructor(nonce: Buffer) {
    this.#start = Buffer.concat([agentMagic, nonce]);
  }

  scan(chunk: Buffer): Omit<Greeting, "nonce"> | undefined {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const at = this.#bytes.indexOf(this.#start);
    if (at < 0) {
      const kept = this.#bytes.subarray(Math.max(0, this.#bytes.length - this.#start.length + 1));
      this.#discardedBytes += this.#bytes.length - kept.length;
      this.#bytes = Buffer.from(kept);
      if (this.#discardedBytes <= maxRemainsBytes) return undefined;
      throw new GuestMisbehavedError("it sends without end and does not answer the hello");
    }
    this.#bytes = this.#bytes.subarray(at);
    if (this.#bytes.length < preambleBytes) return undefined;
    const length = this.#bytes.readUInt32BE(this.#start.length);
    if (length > maxHelloBytes) throw new GuestMisbehavedError("it answered the hello without end");
    if (this.#bytes.length < preambleBytes + length) return undefined;
    const body = this.#bytes.subarray(preambleBytes, preambleBytes + length);
    if (crc32(body) !== this.#bytes.readUInt32BE(this.#start.length + 4)) {
      throw new GuestMisbehavedError("its answer to the hello has a wrong checksum");
    }
    return { reply: parseGuestJson(body), rest: this.#bytes.subarray(preambleBytes + length) };
  }
}

function padding(): Buffer {
  return Buffer.alloc(maxFrameBytes + 64);
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
