import { expect, test } from "vitest";

import { GuestMisbehavedError } from "./errors.ts";
import { atMost, fromRecords, toRecords } from "./records.ts";

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function joined(content: AsyncIterable<Buffer>): Promise<Buffer> {
  const found: Buffer[] = [];
  for await (const piece of content) found.push(piece);
  return Buffer.concat(found);
}

function head(length: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(length);
  return bytes;
}

test.each([1, 5, 8, 9, 4096, 100_000])("records in pieces of %i bytes are the content", async (size) => {
  const content = Buffer.alloc(50_000);
  for (const at of [0, 20_000, 20_001, 49_999]) content[at] = at % 251;
  const records = await joined(toRecords(pieces(content, 10_000)));
  expect(records.length).toBeLessThan(20_000);
  expect((await joined(fromRecords(pieces(records, size), content.length))).equals(content)).toBe(true);
});

test.each([
  ["of nothing", head(0n)],
  ["of more zeros than were asked for", head(-11n)],
  ["of more zeros than there can be", head(-(2n ** 63n))],
  ["of more data than was asked for", head(11n)],
  ["that is cut in its length", head(5n).subarray(0, 7)],
  ["that is cut in its data", Buffer.concat([head(5n), Buffer.from("abcd")])],
])("a record %s is the guest's fault", async (_what, bytes) => {
  await expect(joined(fromRecords(pieces(bytes, 100), 10))).rejects.toBeInstanceOf(GuestMisbehavedError);
});

test("more plain content than was asked for is, too", async () => {
  await expect(joined(atMost(pieces(Buffer.alloc(11), 4), 10))).rejects.toBeInstanceOf(GuestMisbehavedError);
});
