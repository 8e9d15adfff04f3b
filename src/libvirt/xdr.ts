/**
 * XDR (RFC 4506), as far as libvirt uses it: everything big endian and padded to 4 bytes.
 *
 * What is read comes from a peer that may be wrong or hostile: every length is checked against what is there before
 * anything is allocated.
 */
import { LibvirtProtocolError } from "./errors.ts";

/** Libvirt's own limit for a string. */
export const maxStringBytes = 4 * 1024 * 1024;

export class XdrWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(initialBytes = 256) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  u32(value: number): this {
    const at = this.#grow(4);
    this.#buffer.writeUInt32BE(value, at);
    return this;
  }

  i32(value: number): this {
    const at = this.#grow(4);
    this.#buffer.writeInt32BE(value, at);
    return this;
  }

  bool(value: boolean): this {
    return this.u32(value ? 1 : 0);
  }

  u64(value: number | bigint): this {
    const at = this.#grow(8);
    this.#buffer.writeBigUInt64BE(BigInt(value), at);
    return this;
  }

  i64(value: number | bigint): this {
    const at = this.#grow(8);
    this.#buffer.writeBigInt64BE(BigInt(value), at);
    return this;
  }

  f64(value: number): this {
    const at = this.#grow(8);
    this.#buffer.writeDoubleBE(value, at);
    return this;
  }

  /** Bytes of a length that both sides know. */
  fixedOpaque(bytes: Uint8Array): this {
    const padded = paddedLength(bytes.length);
    const at = this.#grow(padded);
    this.#buffer.set(bytes, at);
    this.#buffer.fill(0, at + bytes.length, at + padded);
    return this;
  }

  opaque(bytes: Uint8Array): this {
    return this.u32(bytes.length).fixedOpaque(bytes);
  }

  string(value: string): this {
    if (value.includes("\0")) throw new TypeError("a string for libvirt has a NUL character in it");
    const bytes = Buffer.from(value, "utf8");
    if (bytes.length > maxStringBytes) {
      throw new RangeError(
        `a string of ${bytes.length} bytes is longer than libvirt takes (${maxStringBytes})`,
      );
    }
    return this.opaque(bytes);
  }

  optional<T>(value: T | undefined, write: (value: T) => unknown): this {
    this.bool(value !== undefined);
    if (value !== undefined) write(value);
    return this;
  }

  optionalString(value: string | undefined): this {
    return this.optional(value, (text) => this.string(text));
  }

  array<T>(values: readonly T[], write: (value: T) => unknown): this {
    this.u32(values.length);
    for (const value of values) write(value);
    return this;
  }

  /** What has been written. The writer must not be used after this. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #grow(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
    }
    return at;
  }
}

export class XdrReader {
  readonly #buffer: Buffer;
  #at: number;

  constructor(buffer: Buffer, start = 0) {
    this.#buffer = buffer;
    this.#at = start;
  }

  get remaining(): number {
    return this.#buffer.length - this.#at;
  }

  u32(): number {
    return this.#buffer.readUInt32BE(this.#take(4));
  }

  i32(): number {
    return this.#buffer.readInt32BE(this.#take(4));
  }

  bool(): boolean {
    const value = this.u32();
    if (value > 1) throw new LibvirtProtocolError(`libvirt sent ${value} where only 0 or 1 may be`);
    return value === 1;
  }

  u64(): bigint {
    return this.#buffer.readBigUInt64BE(this.#take(8));
  }

  i64(): bigint {
    return this.#buffer.readBigInt64BE(this.#take(8));
  }

  f64(): number {
    return this.#buffer.readDoubleBE(this.#take(8));
  }

  /** Bytes of a length that both sides know; a view, not a copy. */
  fixedOpaque(length: number): Buffer {
    const at = this.#take(paddedLength(length));
    return this.#buffer.subarray(at, at + length);
  }

  opaque(maxBytes: number): Buffer {
    const length = this.u32();
    if (length > maxBytes) {
      throw new LibvirtProtocolError(`libvirt sent ${length} bytes where at most ${maxBytes} may be`);
    }
    return this.fixedOpaque(length);
  }

  string(maxBytes = maxStringBytes): string {
    return this.opaque(maxBytes).toString("utf8");
  }

  optional<T>(read: () => T): T | undefined {
    return this.bool() ? read() : undefined;
  }

  optionalString(): string | undefined {
    return this.optional(() => this.string());
  }

  /** `itemBytes`: the least that an item takes, so that a false count is found before anything is read. */
  array<T>(maxCount: number, itemBytes: number, read: () => T): T[] {
    const count = this.u32();
    if (count > maxCount) {
      throw new LibvirtProtocolError(`libvirt sent a list of ${count} where at most ${maxCount} may be`);
    }
    if (count * itemBytes > this.remaining) {
      throw new LibvirtProtocolError(`libvirt sent a list of ${count} in ${this.remaining} bytes`);
    }
    const items: T[] = [];
    for (let index = 0; index < count; index++) items.push(read());
    return items;
  }

  rest(): Buffer {
    return this.#buffer.subarray(this.#take(this.remaining));
  }

  /** Everything must have been read: what is left over was misunderstood. */
  end(): void {
    if (this.remaining > 0) {
      throw new LibvirtProtocolError(`libvirt sent ${this.remaining} bytes more than expected`);
    }
  }

  #take(bytes: number): number {
    if (bytes > this.remaining) {
      throw new LibvirtProtocolError(
        `libvirt's message ends too early: ${bytes} bytes wanted, ${this.remaining} left`,
      );
    }
    const at = this.#at;
    this.#at += bytes;
    return at;
  }
}

function paddedLength(length: number): number {
  return (length + 3) & ~3;
}
