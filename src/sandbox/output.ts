import type { Readable } from "node:stream";

export interface CollectedOutput {
  /** The first bytes, up to the limit. */
  bytes: Buffer;
  /** How many there were. */
  totalBytes: number;
  truncated: boolean;
}

/** Reads an output to its end, keeping its first `limitBytes`: the rest is dropped, so that the command never blocks. */
export async function collectOutput(
  output: Readable,
  limitBytes: number,
  onChunk: (chunk: Buffer) => void = () => {},
): Promise<CollectedOutput> {
  const kept: Buffer[] = [];
  let keptBytes = 0;
  let totalBytes = 0;
  for await (const chunk of output) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk);
    totalBytes += bytes.length;
    const part = bytes.subarray(0, limitBytes - keptBytes);
    if (part.length === 0) continue;
    keptBytes += part.length;
    kept.push(part);
    onChunk(part);
  }
  return { bytes: Buffer.concat(kept), totalBytes, truncated: totalBytes > keptBytes };
}
