import { assert, property, uint8Array, array, nat } from "fast-check";
import { describe, expect, test } from "vitest";
import { crc32 } from "node:zlib";

import { GuestMisbehavedError } from "./errors.ts";
import { GreetingScanner, encodeHello, newNonce } from "./handshake.ts";
import { agentMagic, hostMagic, maxHelloBytes, maxRemainsBytes } from "./wire.ts";

function answer(nonce: Buffer, body: string): Buffer {
  const hello = encodeHello({ session: "s", received: 0, resume: false }, nonce);
  const head = Buffer.from(hello.subarray(0, 40));
  agentMagic.copy(head);
  head.writeUInt32BE(Buffer.byteLength(body), 32);
  head.writeUInt32BE(crc32(body), 36);
  return Buffer.concat([head, Buffer.from(body)]);
}

describe("the agent's answer to the hello", () => {
  test("is found behind the remains of any earlier connection, however the bytes are cut", () => {
    assert(
      property(
        uint8Array({ maxLength: 3000 }),
        array(nat(300)),
        uint8Array({ maxLength: 50 }),
        (remains, cuts, more) => {
          const nonce = newNonce();
          const stale = answer(newNonce(), '{"stale":true}');
          const bytes = Buffer.concat([
            remains,
            stale,
            hostMagic,
            agentMagic,
            answer(nonce, '{"n":1}'),
            more,
          ]);
          const scanner = new GreetingScanner(nonce);
          let at = 0;
          for (const cut of [...cuts, bytes.length]) {
            const found = scanner.scan(bytes.subarray(at, at + cut));
            at += cut;
            if (found === undefined) continue;
            expect(found.reply).toEqual({ n: 1 });
            const after = Buffer.concat([found.rest, bytes.subarray(at)]);
            expect(after.equals(more)).toBe(true);
            return;
          }
          expect.unreachable("the answer was there");
        },
      ),
    );
  });

  test("is refused when it is too long, has a wrong checksum or is no JSON object", () => {
    const nonce = newNonce();
    const long = answer(nonce, "{}");
    long.writeUInt32BE(maxHelloBytes + 1, 32);
    const wrong = answer(nonce, "{}");
    wrong.writeUInt32BE(1, 36);
    for (const bytes of [
      long,
      wrong,
      answer(nonce, "[]"),
      answer(nonce, "{"),
      answer(nonce, "[".repeat(9000)),
    ]) {
      expect(() => new GreetingScanner(nonce).scan(bytes)).toThrow(GuestMisbehavedError);
    }
  });

  test("is not waited for behind more than an earlier connection can have left", () => {
    const scanner = new GreetingScanner(newNonce());
    const chunk = Buffer.alloc(1024 ** 2, 7);
    for (let bytes = 0; bytes < maxRemainsBytes; bytes += chunk.length) {
      expect(scanner.scan(chunk)).toBeUndefined();
    }
    expect(() => scanner.scan(chunk)).toThrow("it sends without end");
  });
});
