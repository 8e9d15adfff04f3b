import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { LibvirtProtocolError } from "./errors.ts";
import { XdrReader, XdrWriter } from "./xdr.ts";

const text = fc.string({ unit: "grapheme" }).filter((value) => !value.includes("\0"));

/** One value of each kind, with how to write and read it. */
const item = fc.oneof(
  fc.nat(0xffff_ffff).map((value) => ({
    value,
    write: (writer: XdrWriter) => writer.u32(value),
    read: (reader: XdrReader): unknown => reader.u32(),
  })),
  fc.integer().map((value) => ({
    value,
    write: (writer: XdrWriter) => writer.i32(value),
    read: (reader: XdrReader): unknown => reader.i32(),
  })),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => ({
    value,
    write: (writer: XdrWriter) => writer.u64(value),
    read: (reader: XdrReader): unknown => reader.u64(),
  })),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => ({
    value,
    write: (writer: XdrWriter) => writer.i64(value),
    read: (reader: XdrReader): unknown => reader.i64(),
  })),
  fc.double({ noNaN: true }).map((value) => ({
    value,
    write: (writer: XdrWriter) => writer.f64(value),
    read: (reader: XdrReader): unknown => reader.f64(),
  })),
  fc.boolean().map((value) => ({
    value,
    write: (writer: XdrWriter) => writer.bool(value),
    read: (reader: XdrReader): unknown => reader.bool(),
  })),
  text.map((value) => ({
    value,
    write: (writer: XdrWriter) => writer.string(value),
    read: (reader: XdrReader): unknown => reader.string(),
  })),
  fc.option(text, { nil: undefined }).map((value) => ({
    value,
    write: (writer: XdrWriter) => writer.optionalString(value),
    read: (reader: XdrReader): unknown => reader.optionalString(),
  })),
  fc.array(text).map((value) => ({
    value,
    write: (writer: XdrWriter) => writer.array(value, (one) => writer.string(one)),
    read: (reader: XdrReader): unknown => reader.array(1000, 4, () => reader.string()),
  })),
);

const reads: ((reader: XdrReader) => unknown)[] = [
  (reader) => reader.u32(),
  (reader) => reader.i64(),
  (reader) => reader.f64(),
  (reader) => reader.bool(),
  (reader) => reader.string(),
  (reader) => reader.optionalString(),
  (reader) => reader.fixedOpaque(16),
  (reader) => reader.array(16_384, 4, () => reader.string()),
];

describe("XDR", () => {
  it("reads back what it has written, whatever comes after what", () => {
    fc.assert(
      fc.property(fc.array(item), (items) => {
        const writer = new XdrWriter(1);
        for (const one of items) one.write(writer);
        const bytes = writer.finish();
        expect(bytes.length % 4).toBe(0);
        const reader = new XdrReader(bytes);
        for (const one of items) expect(one.read(reader)).toEqual(one.value);
        reader.end();
      }),
    );
  });

  it("answers arbitrary bytes with a value or a protocol error, nothing else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 256 }), fc.array(fc.constantFrom(...reads)), (bytes, steps) => {
        const reader = new XdrReader(Buffer.from(bytes));
        const error = errorOf(() => steps.forEach((read) => read(reader)));
        expect(error === undefined || error instanceof LibvirtProtocolError).toBe(true);
        expect(reader.remaining).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 2000 },
    );
  });

  it("does not read a string that is longer than the message", () => {
    const lying = new XdrWriter().u32(4_000_000).fixedOpaque(Buffer.from("abcd")).finish();
    expect(() => new XdrReader(lying).string()).toThrow(/ends too early: 4000000 bytes wanted, 4 left/);
  });

  it("refuses a list whose count can't be true before it reads an item", () => {
    let itemsRead = 0;
    const lying = new XdrWriter().u32(10_000).u32(0).finish();
    const reader = new XdrReader(lying);
    expect(() =>
      reader.array(16_384, 4, () => {
        itemsRead += 1;
        return reader.u32();
      }),
    ).toThrow("a list of 10000 in 4 bytes");
    expect(itemsRead).toBe(0);
  });

  it("refuses a string for the daemon that would end at a NUL there", () => {
    expect(() => new XdrWriter().string("a\0b")).toThrow("NUL");
  });

  it("says what is left over", () => {
    expect(() => new XdrReader(Buffer.alloc(8)).end()).toThrow("8 bytes more than expected");
  });
});

function errorOf(run: () => void): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}
