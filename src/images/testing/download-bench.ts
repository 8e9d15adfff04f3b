/** A store that downloads `debian:12` from a publisher that can be made to fail. */
import { readdir, readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";

import type { WorkContext } from "../../core/step.ts";
import type { DownloadTimeouts, StoredImage } from "../types.ts";
import { debianPath, etagOf, type PublisherServer, startPublisher } from "./publisher-server.ts";
import { createScratch, patientTimeouts, type Scratch } from "./scratch.ts";

export const partialName = "debian-12-x86_64.partial";

export interface Pull {
  signal?: AbortSignal;
  onStep?: WorkContext["onStep"];
  timeouts?: Partial<DownloadTimeouts>;
  maxUnannouncedBytes?: number;
}

export interface DownloadBench extends AsyncDisposable {
  publisher: PublisherServer;
  scratch: Scratch;
  pull: (options?: Pull) => Promise<StoredImage>;
  /** What lies in the download folder, without the lock's own. */
  leftovers: () => Promise<string[]>;
  /** Answers the image's first requests in its own way, and the later ones as usual. */
  faulty: (times: number, answer: (response: ServerResponse) => void) => void;
  /** Interrupts a pull by its signal when a third of the image has come; returns how many bytes are kept. */
  interruptPull: () => Promise<number>;
}

/** The publisher has `image`. */
export async function createDownloadBench(image: Buffer): Promise<DownloadBench> {
  const publisher = await startPublisher();
  const scratch = await createScratch();
  publisher.publish(debianPath, image);

  const pull: DownloadBench["pull"] = async ({ timeouts, maxUnannouncedBytes, ...work } = {}) => {
    const store = scratch.store({
      mirrors: { debian: publisher.url },
      timeouts: { ...patientTimeouts, ...timeouts },
      maxUnannouncedBytes,
    });
    const signal = AbortSignal.timeout(600_000);
    return await store.resolve("debian:12", { architecture: "x86_64", signal, ...work });
  };
  const faulty: DownloadBench["faulty"] = (times, answer) => {
    let left = times;
    publisher.intercept = (request, response) => {
      if (!request.url?.endsWith(debianPath) || left === 0) return false;
      left -= 1;
      answer(response);
      return true;
    };
  };

  return {
    publisher,
    scratch,
    pull,
    faulty,
    leftovers: async () => (await readdir(scratch.downloads)).toSorted(),
    async interruptPull() {
      faulty(1, (response) => stallAfter(response, image, 1_000_000));
      const abort = new AbortController();
      const interrupted = await pull({
        signal: abort.signal,
        onStep: ({ doneBytes }) => {
          if ((doneBytes ?? 0) > 0) abort.abort();
        },
      }).then(
        () => false,
        () => abort.signal.aborted,
      );
      if (!interrupted) throw new Error("the pull was not interrupted");
      publisher.intercept = undefined;
      publisher.requests.length = 0;
      return (await readFile(join(scratch.downloads, partialName))).length;
    },
    async [Symbol.asyncDispose]() {
      await publisher[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

export function headersOf(content: Buffer): Record<string, string> {
  return { "content-length": String(content.length), etag: etagOf(content), "accept-ranges": "bytes" };
}

/** The first bytes of the image, and then the connection breaks. */
export function breakAfter(response: ServerResponse, image: Buffer, bytes: number): void {
  response.writeHead(200, headersOf(image));
  response.write(image.subarray(0, bytes), () => response.destroy());
}

/** The first bytes of the image, and then nothing. */
export function stallAfter(response: ServerResponse, image: Buffer, bytes: number): void {
  response.writeHead(200, headersOf(image));
  response.write(image.subarray(0, bytes));
}
