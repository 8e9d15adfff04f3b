import { readdir, readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";

import { beforeAll, beforeEach, afterEach, describe, expect, it } from "vitest";

import { debianPath, etagOf, type PublisherServer, startPublisher } from "./testing/publisher-server.ts";
import { qcow2Image } from "./testing/qemu-image.ts";
import { createScratch, quickTimeouts, type Scratch } from "./testing/scratch.ts";
import type { DownloadTimeouts, ImageProgress, StoredImage } from "./types.ts";

const partialName = "debian-12-x86_64.partial";
let image: Buffer;
let publisher: PublisherServer;
let scratch: Scratch;

beforeAll(async () => {
  image = await qcow2Image({ contentBytes: 3 * 1024 * 1024 });
});
beforeEach(async () => {
  publisher = await startPublisher();
  scratch = await createScratch();
  publisher.publish(debianPath, image);
});
afterEach(async () => {
  await publisher[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

interface Pull {
  signal?: AbortSignal;
  onProgress?: (progress: ImageProgress) => void;
  timeouts?: Partial<DownloadTimeouts>;
}

async function pull({ timeouts, ...work }: Pull = {}): Promise<StoredImage> {
  const store = scratch.store({
    mirrors: { debian: publisher.url },
    timeouts: { ...quickTimeouts, ...timeouts },
  });
  const signal = AbortSignal.timeout(60_000);
  return await store.resolve("debian:12", { architecture: "x86_64", signal, ...work });
}

/** What lies in the download folder, without the lock's own. */
async function leftovers(): Promise<string[]> {
  return (await readdir(scratch.downloads)).filter((name) => name !== ".heyvm-lock").toSorted();
}

/** Answers the image's first requests in its own way, and the later ones as usual. */
function faulty(times: number, answer: (response: ServerResponse) => void): void {
  let left = times;
  publisher.intercept = (request, response) => {
    if (!request.url?.endsWith(debianPath) || left === 0) return false;
    left -= 1;
    answer(response);
    return true;
  };
}

function headers(content: Buffer): Record<string, string> {
  return { "content-length": String(content.length), etag: etagOf(content), "accept-ranges": "bytes" };
}

/** The first bytes of the image, and then the connection breaks. */
function breakAfter(response: ServerResponse, bytes: number): void {
  response.writeHead(200, headers(image));
  response.write(image.subarray(0, bytes), () => response.destroy());
}

/** The first bytes of the image, and then nothing. */
function stallAfter(response: ServerResponse, bytes: number): void {
  response.writeHead(200, headers(image));
  response.write(image.subarray(0, bytes));
}

/** Interrupts a pull by its signal when a third of the image has come. */
async function interruptPull(): Promise<number> {
  faulty(1, (response) => stallAfter(response, 1_000_000));
  const abort = new AbortController();
  const pulling = pull({
    signal: abort.signal,
    onProgress: ({ doneBytes }) => {
      if ((doneBytes ?? 0) > 0) abort.abort();
    },
  });
  await expect(pulling).rejects.toMatchObject({ code: "aborted" });
  publisher.intercept = undefined;
  publisher.requests.length = 0;
  return (await readFile(join(scratch.downloads, partialName))).length;
}

describe("progress", () => {
  it("tells the phases in order, the bytes, and at the end all of them", async () => {
    const seen: ImageProgress[] = [];
    await pull({ onProgress: (progress) => seen.push(progress) });
    const phases = seen.map(({ phase }) => phase).filter((phase, at, all) => phase !== all[at - 1]);
    expect(phases).toEqual(["lookup", "checksum", "download", "place"]);
    const downloads = seen.filter(({ phase }) => phase === "download");
    expect(downloads.at(-1)).toMatchObject({
      reference: "debian:12",
      url: publisher.url + debianPath,
      doneBytes: image.length,
      totalBytes: image.length,
    });
  });
});

describe("a failure that passes is not even noticed", () => {
  it.each([500, 502, 503, 429])("status %d", async (status) => {
    faulty(2, (response) => void response.writeHead(status, { "retry-after": "0" }).end());
    expect((await readFile((await pull()).path)).equals(image)).toBe(true);
  });

  it("of the checksum file", async () => {
    let failures = 1;
    publisher.intercept = (request, response) => {
      if (!request.url?.endsWith("SHA512SUMS") || failures === 0) return false;
      failures -= 1;
      response.writeHead(503).end();
      return true;
    };
    expect((await pull()).verified).toBe(true);
  });

  it("a broken connection: what came is not asked for again", async () => {
    faulty(1, (response) => breakAfter(response, 1_500_000));
    expect((await readFile((await pull()).path)).equals(image)).toBe(true);
    const [first, second] = publisher.requestsOf(debianPath);
    expect(first?.range).toBeUndefined();
    expect(second).toMatchObject({ range: expect.stringMatching(/^bytes=\d+-$/), ifRange: etagOf(image) });
    const from = Number(/\d+/.exec(second?.range ?? "")?.[0]);
    expect(from).toBeGreaterThan(0);
    expect(publisher.sent.get(debianPath)).toBe(image.length - from);
  });

  it("a server that stops sending", async () => {
    faulty(1, (response) => stallAfter(response, 1_500_000));
    expect((await readFile((await pull({ timeouts: { stallMs: 300 } })).path)).equals(image)).toBe(true);
  });

  it("many broken connections, as long as each brings something", async () => {
    let at = 0;
    publisher.intercept = (request, response) => {
      if (!request.url?.endsWith(debianPath)) return false;
      const start = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      at = Math.min(image.length, start + 400_000);
      response.writeHead(start === 0 ? 200 : 206, {
        ...headers(image),
        "content-length": String(image.length - start),
        ...(start === 0 ? {} : { "content-range": `bytes ${start}-${image.length - 1}/${image.length}` }),
      });
      response.write(image.subarray(start, at), () =>
        at === image.length ? response.end() : response.destroy(),
      );
      return true;
    };
    expect((await readFile((await pull({ timeouts: { attempts: 2 } })).path)).equals(image)).toBe(true);
    expect(publisher.requestsOf(debianPath).length).toBeGreaterThan(4);
  });

  it("a server that does not tell the size", async () => {
    publisher.intercept = (request, response) => {
      if (!request.url?.endsWith(debianPath)) return false;
      response.writeHead(200).end(image);
      return true;
    };
    const totals = new Set<number | undefined>();
    const { path } = await pull({
      onProgress: ({ phase, totalBytes }) => phase === "download" && totals.add(totalBytes),
    });
    expect((await readFile(path)).equals(image)).toBe(true);
    expect([...totals]).toEqual([undefined]);
  });

  it("a redirect", async () => {
    publisher.files.set("/elsewhere/x", image);
    faulty(1, (response) => void response.writeHead(302, { location: "/elsewhere/x" }).end());
    expect((await readFile((await pull()).path)).equals(image)).toBe(true);
  });
});

describe("an interrupted download", () => {
  it("leaves what came, and no lock; the next one asks only for what is missing", async () => {
    const keptBytes = await interruptPull();
    expect(keptBytes).toBeGreaterThan(0);
    expect(await leftovers()).toEqual([partialName, `${partialName}.json`]);

    const resumed = new Set<number | undefined>();
    const { path, verified } = await pull({
      onProgress: ({ phase, resumedBytes }) => phase === "download" && resumed.add(resumedBytes),
    });
    expect((await readFile(path)).equals(image)).toBe(true);
    expect(verified).toBe(true);
    expect([...resumed]).toEqual([keptBytes]);
    expect(publisher.requestsOf(debianPath)).toEqual([
      { path: debianPath, range: `bytes=${keptBytes}-`, ifRange: etagOf(image) },
    ]);
    expect(publisher.sent.get(debianPath)).toBe(image.length - keptBytes);
    expect(await leftovers()).toEqual(["debian-12-generic-amd64.qcow2"]);
  });

  it("begins anew when the publisher has another build since", async () => {
    await interruptPull();
    const newer = await qcow2Image();
    publisher.publish(debianPath, newer);
    expect((await readFile((await pull()).path)).equals(newer)).toBe(true);
    expect(publisher.requestsOf(debianPath).map(({ range }) => range)).toEqual([undefined]);
  });

  it("begins anew when the server has another file under the same checksum file", async () => {
    const right = image;
    const other = Buffer.from(image.map((byte) => byte ^ 1));
    faulty(1, (response) => {
      response.writeHead(200, headers(other));
      response.write(other.subarray(0, 1_000_000));
    });
    const abort = new AbortController();
    const pulling = pull({
      signal: abort.signal,
      onProgress: ({ doneBytes }) => {
        if ((doneBytes ?? 0) > 0) abort.abort();
      },
    });
    await expect(pulling).rejects.toMatchObject({ code: "aborted" });
    publisher.requests.length = 0;
    expect((await readFile((await pull()).path)).equals(right)).toBe(true);
    // Its condition was not met, so all came in the one answer.
    expect(publisher.requestsOf(debianPath).length).toBe(1);
    expect(publisher.sent.get(debianPath)).toBe(right.length);
  });

  it("begins anew on a server without ranges", async () => {
    await interruptPull();
    publisher.intercept = (request, response) => {
      if (!request.url?.endsWith(debianPath)) return false;
      response.writeHead(200, { "content-length": String(image.length) }).end(image);
      return true;
    };
    expect((await readFile((await pull()).path)).equals(image)).toBe(true);
  });

  it("whose beginning was damaged on the disk is fetched again as a whole", async () => {
    await interruptPull();
    const { open } = await import("node:fs/promises");
    await using file = await open(join(scratch.downloads, partialName), "r+");
    await file.write(Buffer.from("damage"), 0, 6, 4096);
    expect((await readFile((await pull()).path)).equals(image)).toBe(true);
    expect(publisher.requestsOf(debianPath).map(({ range }) => range?.startsWith("bytes="))).toEqual([
      true,
      undefined,
    ]);
  });
});

describe("a server that fails for good", () => {
  it.each([
    [404, /answered 404 \(no such file\)/, 1],
    [403, /answered 403 \(access denied\)/, 1],
    [500, /answered 500 \(server trouble\)/, 3],
  ])("with status %d is named with its URL and a remedy", async (status, message, attempts) => {
    faulty(99, (response) => void response.writeHead(status).end("<html>sorry</html>"));
    await expect(pull()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(message),
      details: { status, url: publisher.url + debianPath },
      hint: expect.stringMatching(/HEYVM_MIRROR_DEBIAN.*heyvm images add NAME FILE/),
    });
    expect(publisher.requestsOf(debianPath).length).toBe(attempts);
    expect(await leftovers()).toEqual([]);
  });

  it("with a web page", async () => {
    faulty(99, (response) => {
      response.writeHead(200, { "content-type": "text/html" }).end("<html>Sign in</html>");
    });
    await expect(pull()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringContaining("web page"),
    });
    expect(await leftovers()).toEqual([]);
  });

  it("with a web page that says it is an image", async () => {
    faulty(99, (response) => void response.writeHead(200).end("\n<!doctype html><p>Sign in"));
    await expect(pull()).rejects.toThrow(/web page/);
    expect(await leftovers()).toEqual([]);
  });

  it("with a web page in place of the checksum file", async () => {
    publisher.files.set("/images/cloud/bookworm/latest/SHA512SUMS", Buffer.from("<html>Sign in</html>"));
    await expect(pull()).rejects.toThrow(/no sha512 checksum of debian-12-generic-amd64.qcow2: .*web page/);
    expect(publisher.requestsOf(debianPath)).toEqual([]);
  });

  it("with an empty file", async () => {
    faulty(99, (response) => void response.writeHead(200, { "content-length": "0" }).end());
    await expect(pull()).rejects.toThrow(/the file is empty/);
    expect(await leftovers()).toEqual([]);
  });

  it("with half a file and a broken connection, again and again", async () => {
    faulty(99, (response) => breakAfter(response, image.length / 2));
    await expect(pull()).rejects.toMatchObject({ code: "download_failed" });
    expect(publisher.requestsOf(debianPath).length).toBeLessThanOrEqual(4);
  });

  it("with half a file that it takes for the whole: both checksums are named, and nothing is kept", async () => {
    const half = image.subarray(0, image.length / 2);
    publisher.files.set(debianPath, half);
    const { createHash } = await import("node:crypto");
    const sums = [half, image].map((content) => createHash("sha512").update(content).digest("hex"));
    await expect(pull()).rejects.toMatchObject({
      code: "image_checksum_mismatch",
      message: expect.stringMatching(new RegExp(`${sums[0]}.*SHA512SUMS says ${sums[1]}`)),
    });
    expect(await leftovers()).toEqual([]);
  });

  it("with encoded bytes", async () => {
    faulty(99, (response) => void response.writeHead(200, { "content-encoding": "gzip" }).end("x"));
    await expect(pull()).rejects.toThrow(/came encoded \(gzip\)/);
  });

  it("with redirects in a circle", async () => {
    faulty(99, (response) => void response.writeHead(302, { location: debianPath }).end());
    await expect(pull()).rejects.toThrow(/redirected more than 5 times/);
  });

  it("with a redirect to a file of this host", async () => {
    faulty(99, (response) => void response.writeHead(302, { location: "file:///etc/passwd" }).end());
    await expect(pull()).rejects.toThrow(/no http or https URL/);
  });

  it("that never answers", async () => {
    faulty(99, () => undefined);
    await expect(pull({ timeouts: { answerMs: 200, attempts: 2 } })).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/did not answer within 200 ms/),
    });
    expect(await leftovers()).toEqual([]);
  });

  it("that takes for ever, byte by byte", async () => {
    faulty(99, (response) => {
      response.writeHead(200, headers(image));
      let at = 0;
      const drip = setInterval(() => response.write(image.subarray(at, (at += 1))), 20);
      response.on("close", () => clearInterval(drip));
    });
    await expect(pull({ timeouts: { totalMs: 500 } })).rejects.toThrow(/it took longer than 500 ms/);
  });

  it("that is not there", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    await new Promise((resolve) => server.close(resolve));
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const store = scratch.store({ mirrors: { debian: `http://127.0.0.1:${port}` } });
    const resolving = store.resolve("debian:12", { signal: AbortSignal.timeout(60_000) });
    await expect(resolving).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/ECONNREFUSED/),
    });
  });

  it("with what is no image, though its checksum is right", async () => {
    publisher.publish(debianPath, Buffer.alloc(100_000, 7));
    await expect(pull()).rejects.toMatchObject({ code: "image_invalid" });
    expect(await leftovers()).toEqual([]);
  });
});

it("several callers share one download, and each sees its progress", async () => {
  const store = scratch.store({ mirrors: { debian: publisher.url }, timeouts: quickTimeouts });
  const seen = [0, 0, 0];
  const signal = AbortSignal.timeout(60_000);
  const images = await Promise.all(
    seen.map(
      async (_count, at) =>
        await store.resolve("debian:12", {
          architecture: "x86_64",
          signal,
          onProgress: ({ phase }) => (seen[at] = (seen[at] ?? 0) + (phase === "download" ? 1 : 0)),
        }),
    ),
  );
  expect(new Set(images.map(({ path }) => path)).size).toBe(1);
  expect(publisher.requestsOf(debianPath).length).toBe(1);
  expect(seen.every((count) => count > 0)).toBe(true);
});

it("one of several callers who leaves does not end the others' download", async () => {
  const store = scratch.store({ mirrors: { debian: publisher.url }, timeouts: quickTimeouts });
  let release: (() => void) | undefined;
  faulty(1, (response) => {
    response.writeHead(200, headers(image));
    response.write(image.subarray(0, 1000));
    release = () => response.end(image.subarray(1000));
  });
  const abort = new AbortController();
  const architecture = "x86_64";
  const leaving = store.resolve("debian:12", {
    architecture,
    signal: abort.signal,
    onProgress: ({ doneBytes }) => {
      if ((doneBytes ?? 0) > 0) abort.abort();
    },
  });
  const staying = store.resolve("debian:12", { architecture, signal: AbortSignal.timeout(60_000) });
  await expect(leaving).rejects.toMatchObject({ code: "aborted" });
  release?.();
  expect((await readFile((await staying).path)).equals(image)).toBe(true);
  expect(publisher.requestsOf(debianPath).length).toBe(1);
});
