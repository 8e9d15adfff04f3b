import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { LibvirtProtocolError } from "./errors.ts";
import { createPacketReader, encodePacket, maxPacketBytes, type Packet } from "./packet.ts";

const word = fc.integer({ min: 0, max: 0x7fff_ffff });
const packet = fc.record({
  program: word,
  version: word,
  procedure: word,
  type: word,
  serial: word,
  status: word,
  body: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
});

describe("packets", () => {
  it("arrive whole and in order, however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.array(packet), fc.array(fc.integer({ min: 1, max: 90 })), (packets, cuts) => {
        const bytes = Buffer.concat(packets.map((one) => encodePacket(one, one.body)));
        const seen: Packet[] = [];
        const reader = createPacketReader((one) => seen.push(one));
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          reader.push(bytes.subarray(at, at + cut));
          at += cut;
        }
        expect(seen.map(({ body, ...header }) => ({ ...header, body: Buffer.from(body) }))).toEqual(packets);
      }),
    );
  });

  it("end in a protocol error when the bytes are no packets", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 400 }), (bytes) => {
        const reader = createPacketReader(() => undefined);
        const error = errorOf(() => reader.push(Buffer.from(bytes)));
        expect(error === undefined || error instanceof LibvirtProtocolError).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([0, 27, maxPacketBytes + 1, 0xffff_ffff])(
    "a length of %d is refused before its body comes",
    (length) => {
      const head = Buffer.alloc(4);
      head.writeUInt32BE(length);
      expect(() => createPacketReader(() => undefined).push(head)).toThrow(`a packet of ${length} bytes`);
    },
  );

  it("too long for libvirt are not sent", () => {
    const header = { program: 1, version: 1, procedure: 1, type: 0, serial: 1, status: 0 };
    expect(() => encodePacket(header, Buffer.alloc(maxPacketBytes))).toThrow("longer than libvirt takes");
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
