/** Zeros in a file's content, which need neither be sent nor stored. */
import type { FileHandle } from "node:fs/promises";

/** Holes are whole blocks of this many bytes: what common file systems allocate at the least. */
export const holeBlockBytes = 4096;

const zeroBlock = new Uint8Array(holeBlockBytes);

/**
 * The content in order: bytes as they are, and a number for that many zeros: whole blocks of the file, however the content
 * is cut into pieces, or zeros at its end.
 */
export async function* splitHoles(
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array | number, void, undefined> {
  /** Where in its block the next piece begins. */
  let inBlock = 0;
  /** Zeros that were not told yet; they reach back to the begin of a block. */
  let zeros = 0;
  for await (const bytes of content) {
    let told = 0;
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(at + holeBlockBytes - inBlock, bytes.length);
      const startedWithData = zeros % holeBlockBytes !== inBlock;
      if (!startedWithData && isZero(bytes, at, end)) {
        if (told < at) yield bytes.subarray(told, at);
        zeros += end - at;
        told = end;
      } else if (zeros > 0) {
        const started = zeros % holeBlockBytes;
        if (zeros > started) yield zeros - started;
        if (started > 0) yield zeroBlock.subarray(0, started);
        zeros = 0;
      }
      inBlock = (inBlock + end - at) % holeBlockBytes;
      at = end;
    }
    if (told < bytes.length) yield bytes.subarray(told);
  }
  if (zeros > 0) yield zeros;
}

/** Writes the content into a new file, with holes where it has zeros. */
export async function writeWithHoles(file: FileHandle, content: AsyncIterable<Uint8Array>): Promise<void> {
  let position = 0;
  for await (const piece of splitHoles(content)) {
    if (typeof piece === "number") position += piece;
    else {
      for (let written = 0; written < piece.length;) {
        const left = piece.length - written;
        written += (await file.write(piece, written, left, position + written)).bytesWritten;
      }
      position += piece.length;
    }
  }
  await file.truncate(position);
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  // Most blocks are told by their first byte.
  return (
    bytes[from] === 0 && Buffer.compare(bytes.subarray(from, to), zeroBlock.subarray(0, to - from)) === 0
  );
}
