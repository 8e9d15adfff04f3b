/**
 * The beginning of a download, kept until it is complete: `<name>.partial`, and beside it `<name>.partial.json` with
 * what is needed to go on with the same bytes. It outlives an interruption, also by SIGKILL.
 */
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, readFile, rm } from "node:fs/promises";

import { z } from "zod";

import { writeFileAtomic } from "../../core/atomic-file.ts";
import { DiskFullError, isDiskFull } from "../../errors/index.ts";
import type { Checksum, ChecksumAlgorithm } from "../catalogue/checksum.ts";
import { readAt, writeAt } from "../inspect/file-bytes.ts";

export const partialSuffix = ".partial";

const originSchema = z.object({
  version: z.literal(1),
  url: z.string(),
  etag: z.string().optional(),
  lastModified: z.string().optional(),
  totalBytes: z.number().optional(),
  /** The checksum that the whole must have. */
  checksum: z.string().optional(),
  bootId: z.string(),
});

/** Which bytes these are the beginning of. */
export type PartialOrigin = z.infer<typeof originSchema>;

export interface PartialFile extends AsyncDisposable {
  readonly path: string;
  readonly sizeBytes: number;
  /** What the bytes so far come from. */
  readonly origin: PartialOrigin | undefined;
  /** Hashes what is there already. */
  hashExisting(onProgress: (doneBytes: number) => void, signal: AbortSignal): Promise<void>;
  /** Forgets the bytes so far. */
  restart(): Promise<void>;
  /** How often bytes were forgotten since it was opened. */
  readonly restarts: number;
  describe(origin: PartialOrigin): Promise<void>;
  append(chunk: Buffer): Promise<void>;
  /** The digest of all, when all is safely on disk. */
  complete(): Promise<Checksum>;
  remove(): Promise<void>;
}

const hashChunkBytes = 1024 * 1024;

export async function openPartial(path: string, algorithm: ChecksumAlgorithm): Promise<PartialFile> {
  const file = await openForWriting(path);
  let sizeBytes = (await file.stat()).size;
  let restarts = 0;
  let hash: Hash = createHash(algorithm);
  let origin = await readOrigin(path);
  const originPath = `${path}.json`;

  return {
    path,
    get sizeBytes() {
      return sizeBytes;
    },
    get restarts() {
      return restarts;
    },
    get origin() {
      return origin;
    },
    async hashExisting(onProgress, signal) {
      hash = createHash(algorithm);
      for (let done = 0; done < sizeBytes;) {
        signal.throwIfAborted();
        const chunk = await readAt(file, done, Math.min(hashChunkBytes, sizeBytes - done));
        hash.update(chunk);
        done += chunk.length;
        onProgress(done);
      }
    },
    async restart() {
      await file.truncate(0);
      restarts += 1;
      sizeBytes = 0;
      hash = createHash(algorithm);
    },
    async describe(next) {
      if (JSON.stringify(next) === JSON.stringify(origin)) return;
      await writeFileAtomic(originPath, JSON.stringify(next), "downloading an image");
      origin = next;
    },
    async append(chunk) {
      hash.update(chunk);
      await onDisk(path, async () => await writeAt(file, sizeBytes, chunk));
      sizeBytes += chunk.length;
    },
    async complete() {
      await onDisk(path, async () => await file.sync());
      return { algorithm, hex: hash.copy().digest("hex") };
    },
    async remove() {
      await removePartial(path);
    },
    async [Symbol.asyncDispose]() {
      await file.close();
      // What holds nothing is no use to anybody.
      if (sizeBytes === 0) await removePartial(path);
    },
  };
}

export async function removePartial(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(`${path}.json`, { force: true });
}

/** Headers that ask for what is missing. */
export function rangeHeaders({ sizeBytes, origin }: PartialFile): Record<string, string> {
  if (sizeBytes === 0) return {};
  const validator = origin === undefined ? undefined : validatorOf(origin);
  return { range: `bytes=${sizeBytes}-`, ...(validator === undefined ? {} : { "if-range": validator }) };
}

/** What a server can tell a changed file by; weak tags are not allowed for ranges. */
export function validatorOf({ etag, lastModified }: PartialOrigin): string | undefined {
  return etag !== undefined && !etag.startsWith("W/") ? etag : lastModified;
}

/** Opened anew for reading and writing, never through a link that somebody put there. */
async function openForWriting(path: string): Promise<FileHandle> {
  return await onDisk(
    path,
    async () => await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600),
  );
}

async function readOrigin(path: string): Promise<PartialOrigin | undefined> {
  try {
    return originSchema.parse(JSON.parse(await readFile(`${path}.json`, "utf8")));
  } catch {
    // Missing, or broken by a crash: the bytes are of unknown origin then.
    return undefined;
  }
}

async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isDiskFull(error)) throw new DiskFullError("downloading an image", path, error);
    throw error;
  }
}
