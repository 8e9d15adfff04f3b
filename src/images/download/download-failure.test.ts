import { createHash } from "node:crypto";
import { createServer } from "node:net";

import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";

import { breakAfter, createDownloadBench, type DownloadBench, headersOf } from "../testing/download-bench.ts";
import { debianPath } from "../testing/publisher-server.ts";
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

describe("a server that fails for good", () => {
  it.each([
    [404, /answered 404 \(no such file\)/, 1],
    [403, /answered 403 \(access denied\)/, 1],
    [500, /answered 500 \(server trouble\)/, 3],
  ])("with status %d is named with its URL and a remedy", async (status, message, attempts) => {
    bench.faulty(99, (response) => void response.writeHead(status).end("<html>sorry</html>"));
    await expect(bench.pull()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(message),
      details: { status, url: bench.publisher.url + debianPath },
      hint: expect.stringMatching(/HEYVM_MIRROR_DEBIAN.*heyvm images add NAME FILE/),
    });
    expect(bench.publisher.requestsOf(debianPath).length).toBe(attempts);
    expect(await bench.leftovers()).toEqual([]);
  });

  it("with a web page", async () => {
    bench.faulty(99, (response) => {
      response.writeHead(200, { "content-type": "text/html" }).end("<html>Sign in</html>");
    });
    await expect(bench.pull()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringContaining("web page"),
    });
    expect(await bench.leftovers()).toEqual([]);
  });

  it("with a web page that says it is an image", async () => {
    bench.faulty(99, (response) => void response.writeHead(200).end("\n<!doctype html><p>Sign in"));
    await expect(bench.pull()).rejects.toThrow(/web page/);
    expect(await bench.leftovers()).toEqual([]);
  });

  it("with a web page in place of the checksum file", async () => {
    bench.publisher.files.set(
      "/images/cloud/bookworm/latest/SHA512SUMS",
      Buffer.from("<html>Sign in</html>"),
    );
    await expect(bench.pull()).rejects.toThrow(
      /no sha512 checksum of debian-12-generic-amd64.qcow2: .*web page/,
    );
    expect(bench.publisher.requestsOf(debianPath)).toEqual([]);
  });

  it("with an empty file", async () => {
    bench.faulty(99, (response) => void response.writeHead(200, { "content-length": "0" }).end());
    await expect(bench.pull()).rejects.toThrow(/the file is empty/);
    expect(await bench.leftovers()).toEqual([]);
  });

  it("with half a file and a broken connection, again and again", async () => {
    bench.faulty(99, (response) => breakAfter(response, image, image.length / 2));
    await expect(bench.pull()).rejects.toMatchObject({ code: "download_failed" });
    expect(bench.publisher.requestsOf(debianPath).length).toBe(3);
  });

  it("with half a file that it takes for the whole: both checksums are named, and nothing is kept", async () => {
    const half = image.subarray(0, image.length / 2);
    bench.publisher.files.set(debianPath, half);
    const sums = [half, image].map((content) => createHash("sha512").update(content).digest("hex"));
    await expect(bench.pull()).rejects.toMatchObject({
      code: "image_checksum_mismatch",
      message: expect.stringMatching(new RegExp(`${sums[0]}.*SHA512SUMS says ${sums[1]}`)),
    });
    expect(await bench.leftovers()).toEqual([]);
  });

  it("with encoded bytes", async () => {
    bench.faulty(99, (response) => void response.writeHead(200, { "content-encoding": "gzip" }).end("x"));
    await expect(bench.pull()).rejects.toThrow(/came encoded \(gzip\)/);
  });

  it("with redirects in a circle", async () => {
    bench.faulty(99, (response) => void response.writeHead(302, { location: debianPath }).end());
    await expect(bench.pull()).rejects.toThrow(/redirected more than 5 times/);
  });

  it("with a redirect to a file of this host", async () => {
    bench.faulty(99, (response) => void response.writeHead(302, { location: "file:///etc/passwd" }).end());
    await expect(bench.pull()).rejects.toThrow(/no http or https URL/);
  });

  it("that never answers", async () => {
    bench.faulty(99, () => undefined);
    await expect(bench.pull({ timeouts: { answerMs: 200, attempts: 2 } })).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/did not answer within 200 ms/),
    });
    expect(await bench.leftovers()).toEqual([]);
  });

  it("that takes for ever, byte by byte", async () => {
    bench.faulty(99, (response) => {
      response.writeHead(200, headersOf(image));
      let at = 0;
      const drip = setInterval(() => response.write(image.subarray(at, (at += 1))), 20);
      response.on("close", () => clearInterval(drip));
    });
    await expect(bench.pull({ timeouts: { totalMs: 500 } })).rejects.toThrow(/it took longer than 500 ms/);
  });

  it("that is not there", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    await new Promise((resolve) => server.close(resolve));
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const store = bench.scratch.store({ mirrors: { debian: `http://127.0.0.1:${port}` } });
    const resolving = store.resolve("debian:12", { signal: AbortSignal.timeout(600_000) });
    await expect(resolving).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/ECONNREFUSED/),
    });
  });

  it("with what is no image, though its checksum is right", async () => {
    bench.publisher.publish(debianPath, Buffer.alloc(100_000, 7));
    await expect(bench.pull()).rejects.toMatchObject({ code: "image_invalid" });
    expect(await bench.leftovers()).toEqual([]);
  });
});
