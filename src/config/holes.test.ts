import { mkdtemp, open, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";

import { expect, test } from "vitest";

import { holeBlockBytes, splitHoles, writeWithHoles } from "./holes.ts";

const block = holeBlockBytes;

function inPieces(content: Buffer, size: number): Readable {
  const pieces = Array.from({ length: Math.ceil(content.length / size) }, (_, at) =>
    content.subarray(at * size, (at + 1) * size),
  );
  return Readable.from(pieces);
}

async function split(content: Buffer, size = content.length): Promise<(number | string)[]> {
  const pieces: (number | string)[] = [];
  for await (const piece of splitHoles(inPieces(content, size))) {
    pieces.push(typeof piece === "number" ? piece : Buffer.from(piece).toString("latin1"));
  }
  return pieces;
}

test("zeros are holes as far as they fill blocks of the file", async () => {
  expect(await split(Buffer.alloc(3 * block))).toEqual([3 * block]);
  expect(await split(Buffer.alloc(3 * block), block)).toEqual([3 * block]);
  expect(await split(Buffer.concat([Buffer.from("a"), Buffer.alloc(2 * block)]))).toEqual([
    `a${"\0".repeat(block - 1)}`,
    block + 1,
  ]);
  const within = Buffer.concat([
    Buffer.alloc(block - 1),
    Buffer.from("a"),
    Buffer.alloc(block + 1),
    Buffer.from("b"),
  ]);
  const data = [`${"\0".repeat(block - 1)}a`, block, "\0b"];
  expect(await split(within)).toEqual(data);
  expect((await split(within, 100)).filter((piece) => typeof piece === "number")).toEqual([block]);
  expect((await split(within, 100)).join("")).toBe(data.join(""));
  expect(await split(Buffer.alloc(0), 1)).toEqual([]);
});

test.each([1, 7, block - 1, block, block + 1, 64 * 1024])(
  "in pieces of %i the content stays what it is",
  async (size) => {
    const folder = await mkdtemp(join(tmpdir(), "heyvm-holes-"));
    try {
      const content = Buffer.alloc(9 * block + 5);
      for (const at of [0, 3 * block - 1, 5 * block]) content[at] = 1;
      const path = join(folder, "file");
      const file = await open(path, "wx");
      await writeWithHoles(file, inPieces(content, size));
      await file.close();
      expect((await readFile(path)).equals(content)).toBe(true);
      expect((await stat(path)).blocks * 512).toBeLessThan(7 * block);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);
