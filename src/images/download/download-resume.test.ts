import { open, readFile } from "node:fs/promises";
import { join } from "node:path";

import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";

import {
  createDownloadBench,
  type DownloadBench,
  headersOf,
  partialName,
} from "../testing/download-bench.ts";
import { debianPath, etagOf } from "../testing/publisher-server.ts";
import { qcow2Image } from "../testing/qemu-image.ts";

let image: Buffer;
let bench: DownloadBench;

beforeAll(async () => {
  image = await qcow2Image({ contentBytes: 3 * 1024 * 1024 });
});
beforeEach(async () => {
  bench = await createDownloadBench(image);
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

describe("an interrupted download", () => {
  it("leaves what came, and no lock; the next one asks only for what is missing", async () => {
    const keptBytes = await bench.interruptPull();
    expect(keptBytes).toBeGreaterThan(0);
    expect(await bench.leftovers()).toEqual([partialName, `${partialName}.json`]);

    const done: (number | undefined)[] = [];
    const { path, verified } = await bench.pull({
      onStep: ({ id, state, doneBytes }) =>
        id === "image-download" && state === "progress" && done.push(doneBytes),
    });
    expect((await readFile(path)).equals(image)).toBe(true);
    expect(verified).toBe(true);
    expect(done[0]).toBe(keptBytes);
    expect(bench.publisher.requestsOf(debianPath)).toEqual([
      { path: debianPath, range: `bytes=${keptBytes}-`, ifRange: etagOf(image) },
    ]);
    expect(bench.publisher.sent.get(debianPath)).toBe(image.length - keptBytes);
    expect(await bench.leftovers()).toEqual(["debian-12-generic-amd64.qcow2"]);
  });

  it("begins anew when the publisher has another build since", async () => {
    await bench.interruptPull();
    const newer = await qcow2Image();
    bench.publisher.publish(debianPath, newer);
    expect((await readFile((await bench.pull()).path)).equals(newer)).toBe(true);
    expect(bench.publisher.requestsOf(debianPath).map(({ range }) => range)).toEqual([undefined]);
  });

  it("begins anew when the server has another file under the same checksum file", async () => {
    const right = image;
    const other = Buffer.from(image.map((byte) => byte ^ 1));
    bench.faulty(1, (response) => {
      response.writeHead(200, headersOf(other));
      response.write(other.subarray(0, 1_000_000));
    });
    const abort = new AbortController();
    const pulling = bench.pull({
      signal: abort.signal,
      onStep: ({ doneBytes }) => {
        if ((doneBytes ?? 0) > 0) abort.abort();
      },
    });
    await expect(pulling).rejects.toMatchObject({ code: "aborted" });
    bench.publisher.requests.length = 0;
    expect((await readFile((await bench.pull()).path)).equals(right)).toBe(true);
    // Its condition was not met, so all came in the one answer.
    expect(bench.publisher.requestsOf(debianPath).length).toBe(1);
    expect(bench.publisher.sent.get(debianPath)).toBe(right.length);
  });

  it("begins anew on a server without ranges", async () => {
    await bench.interruptPull();
    bench.publisher.intercept = (request, response) => {
      if (!request.url?.endsWith(debianPath)) return false;
      response.writeHead(200, { "content-length": String(image.length) }).end(image);
      return true;
    };
    expect((await readFile((await bench.pull()).path)).equals(image)).toBe(true);
  });

  it("whose beginning was damaged on the disk is fetched again as a whole", async () => {
    await bench.interruptPull();
    await using file = await open(join(bench.scratch.downloads, partialName), "r+");
    await file.write(Buffer.from("damage"), 0, 6, 4096);
    expect((await readFile((await bench.pull()).path)).equals(image)).toBe(true);
    expect(bench.publisher.requestsOf(debianPath).map(({ range }) => range?.startsWith("bytes="))).toEqual([
      true,
      undefined,
    ]);
  });
});
