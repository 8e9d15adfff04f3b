import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

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
