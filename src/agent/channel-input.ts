import { Writable } from "node:stream";

import { GuestMisbehavedError } from "./errors.ts";
import type { Link } from "./link.ts";
import { frameKind, maxPayloadBytes, windowBytes } from "./wire.ts";

const channel = 0;
const maxCredit = 0x7fff_ffff;

/** A stream's input as a Writable that goes as fast as the guest digests it. */
export class ChannelInput {
  readonly writable: Writable;
  readonly #link: Link;
  readonly #stream: number;
  #credit = windowBytes;
  #chunk: Buffer | undefined;
  #taken: ((error?: Error | null) => void) | undefined;
  #waiting = false;
  #closed = false;

  constructor(link: Link, stream: number) {
    this.#link = link;
    this.#stream = stream;
    this.writable = new Writable({
      write: (chunk: Buffer, _encoding, callback) => {
        this.#chunk = chunk;
        this.#taken = callback;
        this.#pump();
      },
      final: (callback) => {
        if (!this.#closed) link.send(frameKind.eof, stream, channel);
        callback();
      },
    });
    this.writable.on("error", () => {}); // see ChannelOutput
  }

  credit(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit > maxCredit) throw new GuestMisbehavedError("it gave credit beyond all bounds");
    this.#pump();
  }

  /** The operation has ended: nobody takes input any more. */
  close(error?: Error): void {
    this.#closed = true;
    this.#chunk = undefined;
    this.writable.destroy(error);
  }

  #pump(): void {
    while (this.#chunk !== undefined && !this.#waiting && !this.#closed) {
      if (this.#credit === 0) return; // goes on with the next credit
      if (!this.#link.hasRoom) {
        this.#waiting = true;
        this.#link.whenRoom(() => {
          this.#waiting = false;
          this.#pump();
        });
        return;
      }
      const bytes = this.#chunk.subarray(0, Math.min(this.#credit, maxPayloadBytes));
      this.#credit -= bytes.length;
      // A copy: the caller may use its buffer again once we have taken it, but a frame may be sent twice.
      this.#link.send(frameKind.data, this.#stream, channel, Buffer.from(bytes));
      this.#chunk = bytes.length < this.#chunk.length ? this.#chunk.subarray(bytes.length) : undefined;
    }
    if (this.#chunk === undefined) this.#accept();
  }

  #accept(): void {
    const taken = this.#taken;
    this.#taken = undefined;
    taken?.();
  }
}
