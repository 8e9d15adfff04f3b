import { Readable } from "node:stream";

import { GuestMisbehavedError } from "./errors.ts";
import { windowBytes } from "./wire.ts";

const coalesceBytes = 4096;
const accumulatorBytes = 16 * 1024;

/** What the guest sends on one channel, as a Readable whose reader's pace reaches the guest. */
export class ChannelOutput {
  readonly readable: Readable;
  readonly #grant: (bytes: number) => void;
  #queue: Buffer[] = [];
  /** The last of the queue, when it has spare room for further small payloads. */
  #accumulator: { whole: Buffer; used: number } | undefined;
  #window = windowBytes;
  #ungranted = 0;
  #wanted = false;
  /** The guest has sent the end. */
  #ended = false;
  #failed = false;

  /** `grant` sends credit; `abandoned` is called when the reader goes away before the end. */
  constructor(grant: (bytes: number) => void, abandoned: () => void) {
    this.#grant = grant;
    this.readable = new Readable({
      read: () => {
        this.#wanted = true;
        this.#deliver();
      },
      destroy: (error, callback) => {
        const early = !this.#ended && !this.#failed;
        this.#queue = [];
        this.#accumulator = undefined;
        callback(error);
        if (early) abandoned();
      },
    });
    // Whoever reads hears of an error; when nobody does, it must not end the process.
    this.readable.on("error", () => {});
  }

  receive(payload: Buffer): void {
    if (this.#ended) throw new GuestMisbehavedError("it sent data after the end of a channel");
    if (payload.length > this.#window)
      throw new GuestMisbehavedError("it sent more data than it had credit for");
    if (payload.length === 0) return;
    this.#window -= payload.length;
    if (this.readable.destroyed) {
      this.#consumed(payload.length); // the command goes on, its output is thrown away
      return;
    }
    this.#append(payload);
    this.#deliver();
  }

  /** The guest has sent all; twice is wrong unless `lenient`. */
  end(lenient = false): void {
    if (this.#ended && !lenient) throw new GuestMisbehavedError("it ended a channel twice");
    this.#ended = true;
    this.#deliver();
  }

  fail(error: Error): void {
    this.#failed = true; // the guest may not know yet and still send
    if (!this.readable.readableEnded) this.readable.destroy(error);
  }

  /** Many small payloads must not become many small buffers. */
  #append(payload: Buffer): void {
    const open = this.#accumulator;
    if (payload.length > coalesceBytes || this.#queue.length === 0) {
      this.#accumulator = undefined;
      this.#queue.push(payload);
      return;
    }
    if (open !== undefined && open.used + payload.length <= accumulatorBytes) {
      payload.copy(open.whole, open.used);
      open.used += payload.length;
      this.#queue[this.#queue.length - 1] = open.whole.subarray(0, open.used);
      return;
    }
    const whole = Buffer.allocUnsafe(accumulatorBytes);
    payload.copy(whole, 0);
    this.#accumulator = { whole, used: payload.length };
    this.#queue.push(whole.subarray(0, payload.length));
  }

  #deliver(): void {
    while (this.#wanted && !this.readable.destroyed) {
      const chunk = this.#queue.shift();
      if (chunk === undefined) break;
      if (this.#queue.length === 0) this.#accumulator = undefined;
      this.#wanted = false; // pushing may ask for more at once
      const more = this.readable.push(chunk);
      this.#wanted ||= more;
      this.#consumed(chunk.length);
    }
    if (this.#ended && this.#queue.length === 0 && !this.readable.destroyed && !this.readable.readableEnded) {
      this.#endReadable();
    }
  }

  #endSent = false;

  #endReadable(): void {
    if (this.#endSent) return;
    this.#endSent = true;
    this.readable.push(null);
  }

  #consumed(bytes: number): void {
    this.#ungranted += bytes;
    if (this.#ungranted < windowBytes / 4 || this.#ended) return;
    this.#window += this.#ungranted;
    this.#grant(this.#ungranted);
    this.#ungranted = 0;
  }
}
