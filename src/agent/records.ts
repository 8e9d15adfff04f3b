/** A file's content on its way, with holes: "Files with holes" in docs/agent-protocol.md. */
import { splitHoles } from "../config/holes.ts";
import { GuestMisbehavedError } from "./errors.ts";

const headBytes = 8;
const zeros = Buffer.alloc(64 * 1024);

/** The records of a content. */
export async function* toRecords(
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const piece of splitHoles(content)) {
    yield typeof piece === "number" ? head(-piece) : Buffer.concat([head(piece.length), piece]);
  }
}

/** The content of records, of which the guest may have made up any. More than `maxBytes` of it break the protocol. */
export async function* fromRecords(
  records: AsyncIterable<Buffer>,
  maxBytes = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<Buffer, void, undefined> {
  let started: Buffer = Buffer.alloc(0);
  let dataLeft = 0;
  let room = maxBytes;
  for await (const piece of records) {
    let bytes = started.length === 0 ? piece : Buffer.concat([started, piece]);
    while (dataLeft > 0 ? bytes.length > 0 : bytes.length >= headBytes) {
      if (dataLeft > 0) {
        const data = bytes.subarray(0, dataLeft);
        bytes = bytes.subarray(data.length);
        dataLeft -= data.length;
        yield data;
        continue;
      }
      const length = bytes.readBigInt64BE(0);
      bytes = bytes.subarray(headBytes);
      const size = Number(length < 0n ? -length : length);
      if (size === 0) throw new GuestMisbehavedError("it sent a record of nothing");
      if (size > room) throw tooMuch();
      room -= size;
      if (length > 0n) dataLeft = size;
      else yield* manyZeros(size);
    }
    started = bytes;
  }
  if (dataLeft > 0 || started.length > 0) throw new GuestMisbehavedError("it ended a file within a record");
}

/** Content as it is, of a guest whose agent knows no records. */
export async function* atMost(
  content: AsyncIterable<Buffer>,
  maxBytes = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<Buffer, void, undefined> {
  let room = maxBytes;
  for await (const piece of content) {
    if (piece.length > room) throw tooMuch();
    room -= piece.length;
    yield piece;
  }
}

function tooMuch(): Error {
  return new GuestMisbehavedError("it sent more than it was asked for");
}

function head(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(headBytes);
  bytes.writeBigInt64BE(BigInt(length), 0);
  return bytes;
}

function* manyZeros(count: number): Generator<Buffer, void, undefined> {
  for (let left = count; left > 0; left -= zeros.length)
    yield zeros.subarray(0, Math.min(left, zeros.length));
}
