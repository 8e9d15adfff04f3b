import { assert, property, uint8Array, array, nat, record, integer } from "fast-check";
import { describe, expect, test } from "vitest";

import { GuestMisbehavedError } from "./errors.ts";
import { FrameParser, type NumberedFrame, encodeFrame, tokenOf } from "./frames.ts";
import { newNonce } from "./handshake.ts";
import { headerBytes, maxPayloadBytes } from "./wire.ts";

const nonce = newNonce();
const token = tokenOf(nonce);

const frames = array(
  record({
    kind: integer({ min: 1, max: 255 }),
    channel: integer({ min: 0, max: 255 }),
    stream: nat(0xffff_ffff),
    number: nat(0xffff_ffff),
    payload: uint8Array({ maxLength: 300 }),
  }),
  { maxLength: 20 },
);

function parseInPieces(parser: FrameParser, bytes: Buffer, cuts: readonly number[]): NumberedFrame[] {
  const found: NumberedFrame[] = [];
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    found.push(...parser.parse(bytes.subarray(at, at + cut)));
    at += cut;
  }
  return found;
}

describe("frames", () => {
  test("come out as they went in, however the bytes are cut", () => {
    assert(
      property(frames, array(nat(500)), (sent, cuts) => {
        const bytes = Buffer.concat(
          sent.map((frame) =>
            encodeFrame(token, frame.number, { ...frame, payload: Buffer.from(frame.payload) }),
          ),
        );
        const found = parseInPieces(new FrameParser(nonce), bytes, cuts);
        expect(found.map((frame) => ({ ...frame, payload: new Uint8Array(frame.payload) }))).toEqual(sent);
      }),
    );
  });

  test("of another connection, or none at all, end in a protocol error and nothing else", () => {
    assert(
      property(uint8Array({ minLength: headerBytes, maxLength: 2000 }), array(nat(100)), (bytes, cuts) => {
        expect(() => parseInPieces(new FrameParser(nonce), Buffer.from(bytes), cuts)).toThrow(
          GuestMisbehavedError,
        );
      }),
    );
  });

  test("with one byte changed never yield another token's or a longer frame", () => {
    const whole = encodeFrame(token, 7, { kind: 3, channel: 1, stream: 9, payload: Buffer.alloc(50, 1) });
    assert(
      property(nat(whole.length - 1), integer({ min: 1, max: 255 }), (at, change) => {
        const bytes = Buffer.from(whole);
        bytes[at] = (bytes[at] ?? 0) ^ change;
        try {
          const found = [...new FrameParser(nonce).parse(bytes)];
          expect(found.every((frame) => frame.payload.length <= 50)).toBe(true);
        } catch (error) {
          if (!(error instanceof GuestMisbehavedError)) throw error;
        }
      }),
    );
  });

  test("that announce more than the limit are refused before their bytes come", () => {
    const head = encodeFrame(token, 1, { kind: 3, channel: 1, stream: 1, payload: Buffer.alloc(0) });
    head.writeUInt32BE(maxPayloadBytes + 1, 16);
    expect(() => [...new FrameParser(nonce).parse(head.subarray(0, headerBytes))]).toThrow(/limit/u);
  });

  test("don't keep the chunk alive that they came in", () => {
    const small = encodeFrame(token, 1, { kind: 3, channel: 1, stream: 1, payload: Buffer.from("x") });
    const large = encodeFrame(token, 2, { kind: 3, channel: 1, stream: 2, payload: Buffer.alloc(60_000) });
    const [first] = new FrameParser(nonce).parse(Buffer.concat([small, large]));
    expect(first?.payload.buffer.byteLength).toBeLessThan(20_000);
  });
});
