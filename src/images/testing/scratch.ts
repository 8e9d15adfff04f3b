import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createImageStore } from "../store.ts";
import type { DownloadTimeouts, ImageStore, ImageStoreOptions } from "../types.ts";

/** Folders of one test: two to search, the second of which receives downloads. */
export interface Scratch extends AsyncDisposable {
  root: string;
  first: string;
  downloads: string;
  /** Where copies of files lie that others may change. */
  copies: string;
  indexPath: string;
  store(options?: Partial<ImageStoreOptions>): ImageStore;
}

/** Retries at once. A test whose subject is a deadline sets its own: no other may see one, however slow the machine is. */
export const patientTimeouts: DownloadTimeouts = {
  connectMs: 60_000,
  answerMs: 60_000,
  stallMs: 60_000,
  totalMs: 600_000,
  retryDelayMs: 5,
  attempts: 3,
};

/** In memory where that is possible: each placing waits for the disk, which others may keep busy for seconds. */
const parent = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

export async function createScratch(): Promise<Scratch> {
  const root = await mkdtemp(join(parent, "heyvm-images-"));
  const first = join(root, "first");
  const downloads = join(root, "downloads");
  const copies = join(root, "state", "images");
  const indexPath = join(root, "state", "images.json");
  await mkdir(first, { mode: 0o755 });
  return {
    root,
    first,
    downloads,
    copies,
    indexPath,
    store: (options = {}) =>
      createImageStore({
        searchFolders: [first, downloads],
        indexPath,
        copyFolder: copies,
        timeouts: patientTimeouts,
        ...options,
      }),
    async [Symbol.asyncDispose]() {
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** Sorted. */
export async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).toSorted();
}
