/** `heyvm pull` from publishers that fail, stall, lie or run out of disk, and from one that works. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { makeOwnFolder } from "../fixtures/host/own-folder.ts";
import { createTestHost, type TestHost } from "../fixtures/host.ts";
import {
  debianFileName,
  debianFiles,
  debianFolder,
  type Publisher,
  type PublisherOptions,
  startPublisher,
} from "../fixtures/publisher.ts";
import { pressCtrlC } from "../fixtures/press-ctrl-c.ts";
import { expectFailure, succeed } from "./suites/subject.ts";

const imagePath = `${debianFolder}/${debianFileName}`;

/** An image that nobody boots, large enough to be interrupted. */
const imageBytes = 64 * 1024 ** 2;
let image: string;
beforeAll(async () => {
  const folder = await makeOwnFolder();
  const raw = join(folder, "raw");
  image = join(folder, debianFileName);
  await writeFile(raw, randomBytes(imageBytes));
  await promisify(execFile)("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, image]);
});
afterAll(async () => await rm(dirname(image), { recursive: true }));

/** A host and a publisher of the image that behaves as told. */
async function withPublisher(
  options: Partial<PublisherOptions>,
  work: (host: TestHost, publisher: Publisher, folder: string) => Promise<void>,
): Promise<void> {
  await using publisher = await startPublisher({ files: await debianFiles(image), ...options });
  await using host = await createTestHost({ env: { HEYVM_MIRROR_DEBIAN: publisher.url } });
  await work(host, publisher, join(host.paths.home, ".local/share/libvirt/images"));
}

/** Answers the image's own path; everything else is the publisher's. */
function insteadOfTheImage(answer: (response: ServerResponse) => void): Partial<PublisherOptions> {
  return {
    intercept(request: IncomingMessage, response: ServerResponse) {
      if (request.url !== imagePath) return false;
      answer(response);
      return true;
    },
  };
}

describe("pull fails, and leaves no image,", () => {
  const cases: [what: string, options: Partial<PublisherOptions>, code: number, ...words: string[]][] = [
    ["when the image is not there", insteadOfTheImage((r) => r.writeHead(404).end()), 1, "404"],
    ["when the server is broken", insteadOfTheImage((r) => r.writeHead(500).end()), 1, "500"],
    [
      "when a page comes in the image's place",
      insteadOfTheImage((r) => r.writeHead(200, { "content-type": "text/html" }).end("<html>log in</html>")),
      1,
      "web page",
    ],
    ["when nothing comes", insteadOfTheImage((r) => r.writeHead(200).end()), 1, imagePath],
    [
      "when another file comes",
      insteadOfTheImage((r) => r.writeHead(200).end(Buffer.alloc(100_000, 1))),
      1,
      "checksum",
    ],
    ["when half of it comes, again and again", insteadOfTheImage(half), 1, "connection"],
    ["when there are no checksums", { intercept: noChecksums }, 1, "SHA512SUMS"],
  ];
  test.each(cases)("%s", async (_what, options, code, ...words) => {
    await withPublisher(options, async (host, _publisher, folder) => {
      await expectFailure(host, ["pull", "debian:12"], code, ...words, "hint: ");
      expect((await readdir(folder)).filter((name) => name.endsWith(".qcow2"))).toEqual([]);
      expect(JSON.parse(await succeed(host, "images", "list", "--format", "json"))).toEqual([]);
      // What came through a connection that broke is kept for the next attempt, until nobody wants it.
      await succeed(host, "images", "prune");
    });
  });
});

/** Announces more than it sends. */
function half(response: ServerResponse): void {
  response.writeHead(200, { "content-length": 2_000_000 });
  response.write(Buffer.alloc(1_000_000, 1), () => response.destroy());
}

function noChecksums(request: IncomingMessage, response: ServerResponse): boolean {
  if (request.url?.endsWith("SHA512SUMS") !== true) return false;
  response.writeHead(404).end();
  return true;
}

test("a download that was interrupted goes on where it was, and several that want it share it", async () => {
  const slow = { bytesPerSecond: imageBytes / 2, firstStopsAtByte: imageBytes / 2 };
  await withPublisher(slow, async (host, publisher, folder) => {
    const interrupted = await pressCtrlC(host, () => inTheMiddle(folder), "pull", "debian:12");
    expect(interrupted).toMatchObject({ code: 130, stdout: "" });

    const [first, second] = await Promise.all([
      host.heyvm("pull", "debian:12"),
      host.heyvm("pull", "debian:12"),
    ]);
    expect([first?.code, second?.code]).toEqual([0, 0]);
    const downloads = publisher.requests.filter(({ path, method }) => path === imagePath && method === "GET");
    expect(downloads).toEqual([
      expect.objectContaining({ range: undefined }),
      expect.objectContaining({ status: 206, range: expect.stringMatching(/^bytes=\d{8,}-$/) }),
    ]);
    const [mine, theirs] = [await readFile(join(folder, debianFileName)), await readFile(image)];
    expect(mine.equals(theirs)).toBe(true);
    expect((await readdir(folder)).filter((name) => name.includes("partial"))).toEqual([]);
  });
});

test("an image that is added by its URL has no name after a Ctrl-C, and what came is used by the next attempt", async () => {
  await withPublisher({ firstStopsAtByte: imageBytes / 2 }, async (host, publisher, folder) => {
    const add = ["images", "add", "mine", publisher.url + imagePath];
    expect(await pressCtrlC(host, () => inTheMiddle(folder), ...add)).toMatchObject({
      code: 130,
      stdout: "",
    });
    expect((await readdir(folder)).filter((name) => name.endsWith(".qcow2"))).toEqual([]);
    expect(JSON.parse(await succeed(host, "images", "list", "--format", "json"))).toEqual([]);
    await succeed(host, ...add);
    const [mine] = JSON.parse(await succeed(host, "images", "list", "--format", "json"));
    expect(mine).toMatchObject({ name: "mine" });
    expect((await readFile(mine.path)).equals(await readFile(image))).toBe(true);
    expect(publisher.requests.at(-1)).toMatchObject({
      status: 206,
      range: expect.stringMatching(/^bytes=\d{8,}-$/),
    });
  });
});

test("a server that takes the request and never answers is left at once after a Ctrl-C", async () => {
  const asked = new EventEmitter();
  const silent = insteadOfTheImage(() => void asked.emit("image"));
  await withPublisher(silent, async (host, _publisher, folder) => {
    const request = once(asked, "image");
    expect(await pressCtrlC(host, () => request, "pull", "debian:12")).toMatchObject({
      code: 130,
      stdout: "",
    });
    // The daemon notices that nobody wants it any more.
    const files = async () => (await readdir(folder)).filter((name) => !name.startsWith("."));
    await expect.poll(files).toEqual([]);
  });
});

async function inTheMiddle(folder: string): Promise<void> {
  await expect.poll(() => partialBytes(folder), { interval: 20 }).toBeGreaterThan(imageBytes / 4);
}

/** How much of the image lies in the folder so far. */
async function partialBytes(folder: string): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  const partial = names.find((name) => name.endsWith(".partial"));
  return partial === undefined ? 0 : (await stat(join(folder, partial))).size;
}
