/** Bytes of large files. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import type { FileHandle } from "node:fs/promises";

import { AbortedError } from "../../errors/index.ts";
import type { Checksum, ChecksumAlgorithm } from "../catalogue/checksum.ts";

const chunkBytes = 1024 * 1024;

/** The digest of a file's bytes. */
export async function hashFile(
  path: string,
  algorithm: ChecksumAlgorithm,
  options: { signal: AbortSignal; onProgress?: (doneBytes: number) => void },
): Promise<Checksum> {
  const hash = createHash(algorithm);
  let doneBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: chunkBytes })) {
    if (options.signal.aborted) throw new AbortedError(`hashing ${path}`, options.signal.reason);
    // A file stream without an encoding yields buffers.
    if (!Buffer.isBuffer(chunk)) continue;
    hash.update(chunk);
    doneBytes += chunk.length;
    options.onProgress?.(doneBytes);
  }
  return { algorithm, hex: hash.digest("hex") };
}

/** Up to `length` bytes from `offset`: fewer where the file ends. */
export async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(buffer, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}

/** All of the chunk. */
export async function writeAt(file: FileHandle, offset: number, chunk: Buffer): Promise<void> {
  for (let done = 0; done < chunk.length;) {
    done += (await file.write(chunk, done, chunk.length - done, offset + done)).bytesWritten;
  }
}
