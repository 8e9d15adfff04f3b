/** Several processes, ends by SIGKILL, and a full disk. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { expect, it } from "vitest";

import type { Step } from "../core/step.ts";
import { debianPath, etagOf, type PublisherServer, startPublisher } from "./testing/publisher-server.ts";
import { qcow2Image } from "./testing/qemu-image.ts";
import { createScratch, namesIn, patientTimeouts, type Scratch } from "./testing/scratch.ts";
import type { StoredImage } from "./types.ts";

const childPath = fileURLToPath(new URL("testing/resolve-child.ts", import.meta.url));

interface Message {
  step?: Step;
  image?: StoredImage;
  error?: string;
}

/** A process that resolves debian:12; `until` waits for one of its messages. */
class Child implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly messages: Message[] = [];
  #waiting: (() => void) | undefined;

  constructor(scratch: Scratch, publisher: PublisherServer) {
    const options = {
      searchFolders: [scratch.first, scratch.downloads],
      indexPath: scratch.indexPath,
      copyFolder: scratch.copies,
      mirrors: { debian: publisher.url },
      timeouts: patientTimeouts,
    };
    this.process = spawn(
      process.execPath,
      ["--import", "tsx", childPath, JSON.stringify(options), "debian:12"],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    if (this.process.stdout === null) throw new Error("no output");
    createInterface({ input: this.process.stdout }).on("line", (line) => {
      // Written by the child beside this file.
      const message: Message = JSON.parse(line);
      this.messages.push(message);
      this.#waiting?.();
    });
  }

  async until(found: (message: Message) => boolean): Promise<Message> {
    for (;;) {
      const message = this.messages.find(found);
      if (message !== undefined) return message;
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }

  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** Lets the first request of the image wait, after so many bytes, until it is told to go on. */
function holdFirst(publisher: PublisherServer, image: Buffer, bytes: number): () => void {
  let release: (() => void) | undefined;
  let held = false;
  publisher.intercept = (request, response) => {
    if (held || !request.url?.endsWith(debianPath)) return false;
    held = true;
    response.writeHead(200, { "content-length": String(image.length), etag: etagOf(image) });
    response.write(image.subarray(0, bytes));
    release = () => response.end(image.subarray(bytes));
    return true;
  };
  return () => release?.();
}

it("two processes share one download, and the second sees the first one's progress", async () => {
  const image = await qcow2Image();
  await using publisher = await startPublisher();
  await using scratch = await createScratch();
  publisher.publish(debianPath, image);
  const release = holdFirst(publisher, image, 500_000);
  await using first = new Child(scratch, publisher);
  await first.until(({ step }) => step?.id === "image-download" && (step.doneBytes ?? 0) > 0);
  await using second = new Child(scratch, publisher);
  await second.until(({ step }) => step?.id === "image-wait" && step.totalBytes === image.length);
  release();
  const results = await Promise.all([first.until(isResult), second.until(isResult)]);
  expect(results.map(({ image: found }) => found?.verified)).toEqual([true, true]);
  expect(publisher.requestsOf(debianPath).length).toBe(1);
});

it("a download whose process was killed is gone on with by the one that waits", async () => {
  const image = await qcow2Image();
  await using publisher = await startPublisher();
  await using scratch = await createScratch();
  publisher.publish(debianPath, image);
  holdFirst(publisher, image, 500_000);
  await using first = new Child(scratch, publisher);
  await first.until(({ step }) => step?.id === "image-download" && (step.doneBytes ?? 0) > 0);
  await using second = new Child(scratch, publisher);
  await second.until(({ step }) => step?.id === "image-wait");
  await first.kill();
  const { image: found } = await second.until((message) => message.image !== undefined);
  expect((await readFile(found?.path ?? "")).equals(image)).toBe(true);
  expect(found?.verified).toBe(true);
  // The other goes on at once: what the first one left is seen in what the other asked for.
  const range = publisher.requestsOf(debianPath).at(-1)?.range;
  const keptBytes = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]);
  expect(keptBytes).toBeGreaterThan(0);
  expect(publisher.sent.get(debianPath)).toBe(image.length - keptBytes);
  expect(await namesIn(scratch.downloads)).toEqual(["debian-12-generic-amd64.qcow2"]);
});

it.for([
  ["the server tells the size", true],
  ["it is found out on the way", false],
])("a full disk is told, and what came is removed, when %s", async ([, tellsSize], context) => {
  await using scratch = await createScratch();
  await mkdir(scratch.downloads);
  using mounted = mountTiny(scratch.downloads);
  if (!mounted.ok) {
    context.skip(`no small file system can be mounted here: ${mounted.reason}`);
  }
  const image = await qcow2Image({ contentBytes: 3 * 1024 * 1024 });
  await using publisher = await startPublisher();
  publisher.publish(debianPath, image);
  if (!tellsSize) {
    publisher.intercept = (request, response) => {
      if (!request.url?.endsWith(debianPath)) return false;
      response.writeHead(200).end(image);
      return true;
    };
  }
  await writeFile(join(scratch.downloads, "theirs"), "x");
  const store = scratch.store({ mirrors: { debian: publisher.url } });
  const signal = AbortSignal.timeout(30_000);
  await expect(store.resolve("debian:12", { architecture: "x86_64", signal })).rejects.toMatchObject({
    code: "disk_full",
    message: expect.stringContaining(scratch.downloads),
  });
  expect(await namesIn(scratch.downloads)).toEqual(["theirs"]);
});

function isResult({ image, error }: Message): boolean {
  return image !== undefined || error !== undefined;
}

function mountTiny(folder: string): Disposable & { ok: boolean; reason: string } {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1M", "tmpfs", folder], { stdio: "pipe" });
  } catch (error) {
    return { ok: false, reason: String(error).split("\n")[0] ?? "", [Symbol.dispose]: () => undefined };
  }
  return { ok: true, reason: "", [Symbol.dispose]: () => void execFileSync("umount", [folder]) };
}
