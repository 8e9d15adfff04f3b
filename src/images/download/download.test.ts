import { readFile } from "node:fs/promises";

import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";

import {
  breakAfter,
  createDownloadBench,
  type DownloadBench,
  headersOf,
  stallAfter,
} from "../testing/download-bench.ts";
import type { Step } from "../../core/step.ts";
import { debianPath, etagOf } from "../testing/publisher-server.ts";
import { qcow2Image } from "../testing/qemu-image.ts";
import { patientTimeouts } from "../testing/scratch.ts";

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

describe("progress", () => {
  it("tells the steps in order, the bytes, and at the end all of them", async () => {
    const seen: Step[] = [];
    await bench.pull({ onStep: (step) => seen.push(step) });
    const measured = seen.filter(({ state }) => state === "progress");
    expect(seen.filter(({ state }) => state !== "progress").map(({ id, state }) => [id, state])).toEqual([
      ["image-checksum", "started"],
      ["image-checksum", "done"],
      ["image-download", "started"],
      ["image-download", "done"],
    ]);
    for (const last of [measured.at(-1), seen.at(-1)]) {
      const all = { doneBytes: image.length, totalBytes: image.length };
      expect(last).toMatchObject({ id: "image-download", title: "Downloading debian:12", ...all });
    }
  });
});

describe("a failure that passes is not even noticed", () => {
  it.each([500, 502, 503, 429])("status %d", async (status) => {
    bench.faulty(2, (response) => void response.writeHead(status, { "retry-after": "0" }).end());
    expect((await readFile((await bench.pull()).path)).equals(image)).toBe(true);
  });

  it("of the checksum file", async () => {
    let failures = 1;
    bench.publisher.intercept = (request, response) => {
      if (!request.url?.endsWith("SHA512SUMS") || failures === 0) return false;
      failures -= 1;
      response.writeHead(503).end();
      return true;
    };
    expect((await bench.pull()).verified).toBe(true);
  });

  it("a broken connection: what came is not asked for again", async () => {
    bench.faulty(1, (response) => breakAfter(response, image, 1_500_000));
    expect((await readFile((await bench.pull()).path)).equals(image)).toBe(true);
    const [first, second] = bench.publisher.requestsOf(debianPath);
    expect(first?.range).toBeUndefined();
    expect(second).toMatchObject({ range: expect.stringMatching(/^bytes=\d+-$/), ifRange: etagOf(image) });
    const from = Number(/\d+/.exec(second?.range ?? "")?.[0]);
    expect(from).toBeGreaterThan(0);
    expect(bench.publisher.sent.get(debianPath)).toBe(image.length - from);
  });

  it("a server that stops sending", async () => {
    bench.faulty(1, (response) => stallAfter(response, image, 1_500_000));
    expect((await readFile((await bench.pull({ timeouts: { stallMs: 300 } })).path)).equals(image)).toBe(
      true,
    );
  });

  it("many broken connections, as long as each brings something", async () => {
    let at = 0;
    bench.publisher.intercept = (request, response) => {
      if (!request.url?.endsWith(debianPath)) return false;
      const start = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      at = Math.min(image.length, start + 400_000);
      response.writeHead(start === 0 ? 200 : 206, {
        ...headersOf(image),
        "content-length": String(image.length - start),
        ...(start === 0 ? {} : { "content-range": `bytes ${start}-${image.length - 1}/${image.length}` }),
      });
      response.write(image.subarray(start, at), () =>
        at === image.length ? response.end() : response.destroy(),
      );
      return true;
    };
    expect((await readFile((await bench.pull({ timeouts: { attempts: 2 } })).path)).equals(image)).toBe(true);
    expect(bench.publisher.requestsOf(debianPath).length).toBeGreaterThan(4);
  });

  it("a server that does not tell the size", async () => {
    bench.publisher.intercept = (request, response) => {
      if (!request.url?.endsWith(debianPath)) return false;
      response.writeHead(200).end(image);
      return true;
    };
    const totals = new Set<number | undefined>();
    const { path } = await bench.pull({
      onStep: ({ id, totalBytes }) => id === "image-download" && totals.add(totalBytes),
    });
    expect((await readFile(path)).equals(image)).toBe(true);
    expect([...totals]).toEqual([undefined]);
  });

  it("a redirect", async () => {
    bench.publisher.files.set("/elsewhere/x", image);
    bench.faulty(1, (response) => void response.writeHead(302, { location: "/elsewhere/x" }).end());
    expect((await readFile((await bench.pull()).path)).equals(image)).toBe(true);
  });
});

it("several callers share one download, and each sees its progress", async () => {
  const store = bench.scratch.store({ mirrors: { debian: bench.publisher.url }, timeouts: patientTimeouts });
  const seen = [0, 0, 0];
  const signal = AbortSignal.timeout(600_000);
  const images = await Promise.all(
    seen.map(
      async (_count, at) =>
        await store.resolve("debian:12", {
          architecture: "x86_64",
          signal,
          onStep: ({ id }) => (seen[at] = (seen[at] ?? 0) + (id === "image-download" ? 1 : 0)),
        }),
    ),
  );
  expect(new Set(images.map(({ path }) => path)).size).toBe(1);
  expect(bench.publisher.requestsOf(debianPath).length).toBe(1);
  expect(seen.every((count) => count > 0)).toBe(true);
});

it("one of several callers who leaves does not end the others' download", async () => {
  const store = bench.scratch.store({ mirrors: { debian: bench.publisher.url }, timeouts: patientTimeouts });
  let release: (() => void) | undefined;
  bench.faulty(1, (response) => {
    response.writeHead(200, headersOf(image));
    response.write(image.subarray(0, 1000));
    release = () => response.end(image.subarray(1000));
  });
  const abort = new AbortController();
  const architecture = "x86_64";
  const leaving = store.resolve("debian:12", {
    architecture,
    signal: abort.signal,
    onStep: ({ doneBytes }) => {
      if ((doneBytes ?? 0) > 0) abort.abort();
    },
  });
  const staying = store.resolve("debian:12", { architecture, signal: AbortSignal.timeout(600_000) });
  await expect(leaving).rejects.toMatchObject({ code: "aborted" });
  release?.();
  expect((await readFile((await staying).path)).equals(image)).toBe(true);
  expect(bench.publisher.requestsOf(debianPath).length).toBe(1);
});
