import { readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";

import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";

import { createDownloadBench, type DownloadBench, headersOf } from "../testing/download-bench.ts";
import { debianPath, etagOf } from "../testing/publisher-server.ts";
import { qcow2Image } from "../testing/qemu-image.ts";

const mebibyte = 2 ** 20;
let image: Buffer;
let bench: DownloadBench;

beforeAll(async () => {
  image = await qcow2Image({ contentBytes: 3 * mebibyte });
});
beforeEach(async () => {
  bench = await createDownloadBench(image);
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

/** Goes on for as long as somebody takes it; answers when nobody does any more. */
async function sendForEver(response: ServerResponse): Promise<void> {
  const closed = new Promise<void>((resolve) => response.once("close", resolve));
  const more = Buffer.alloc(mebibyte, 1);
  const send = (): void => {
    while (!response.destroyed && response.write(more));
  };
  response.on("drain", send);
  send();
  await closed;
}

describe("a server that does not end is left", () => {
  it("when it goes on after the rest that it announced, and nothing is kept", async () => {
    const kept = await bench.interruptPull();
    let left: Promise<void> | undefined;
    bench.faulty(99, (response) => {
      response.writeHead(206, {
        etag: etagOf(image),
        "content-range": `bytes ${kept}-${image.length - 1}/${image.length}`,
      });
      response.write(image.subarray(kept));
      left = sendForEver(response);
    });
    await expect(bench.pull()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringContaining(`it sent more than the ${image.length} bytes that it announced`),
      hint: expect.stringContaining("HEYVM_MIRROR_DEBIAN"),
      details: { limit_bytes: image.length },
    });
    await left;
    expect(await bench.leftovers()).toEqual([]);
    expect(bench.publisher.requestsOf(debianPath).length).toBe(1);
  });

  it("when it goes on after the part that it announced", async () => {
    const kept = await bench.interruptPull();
    const end = kept + 1000;
    bench.faulty(99, (response) => {
      const range = `bytes ${kept}-${end - 1}/${image.length}`;
      response.writeHead(206, { etag: etagOf(image), "content-range": range });
      response.write(image.subarray(kept, end));
      void sendForEver(response);
    });
    await expect(bench.pull()).rejects.toThrow(`it sent more than the ${end} bytes that it announced`);
    expect(await bench.leftovers()).toEqual([]);
  });

  it("when it announced nothing and sends more than an image has", async () => {
    let left: Promise<void> | undefined;
    bench.faulty(99, (response) => {
      response.writeHead(200);
      left = sendForEver(response);
    });
    const limit = { maxUnannouncedBytes: 16 * mebibyte };
    await expect(bench.pull(limit)).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/it announced no size, and did not end within 16 ?MiB/),
    });
    await left;
    expect(await bench.leftovers()).toEqual([]);
    expect(bench.publisher.requestsOf(debianPath).length).toBe(1);
  });

  it("when its checksum file does not end", async () => {
    bench.publisher.intercept = (request, response) => {
      if (request.url?.endsWith("SHA512SUMS") !== true) return false;
      response.writeHead(200);
      void sendForEver(response);
      return true;
    };
    await expect(bench.pull()).rejects.toThrow(/it is far too long/);
    expect(await bench.leftovers()).toEqual([]);
  });
});

it("what comes behind the announced length is no part of the file", async () => {
  bench.faulty(1, (response) => {
    response.writeHead(200, headersOf(image));
    // Past the server's own check of what it announced.
    response.socket?.write(Buffer.concat([image, Buffer.alloc(mebibyte, 1)]));
  });
  expect((await readFile((await bench.pull()).path)).equals(image)).toBe(true);
});

it("a part that is announced and comes is gone on with", async () => {
  const kept = await bench.interruptPull();
  bench.faulty(1, (response) => {
    const end = kept + 1000;
    response.writeHead(206, {
      etag: etagOf(image),
      "content-range": `bytes ${kept}-${end - 1}/${image.length}`,
      "content-length": "1000",
    });
    response.end(image.subarray(kept, end));
  });
  expect((await readFile((await bench.pull()).path)).equals(image)).toBe(true);
  expect(bench.publisher.requestsOf(debianPath)[1]?.range).toBe(`bytes=${kept + 1000}-`);
});
