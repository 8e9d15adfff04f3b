/** Copies of files that others may change: what was looked at is then what each start opens. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { chmod, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";

import { syncFolder } from "../core/atomic-file.ts";
import { lockForProcess, tryLockForProcess } from "../core/process-lock.ts";
import type { WorkContext } from "../core/step.ts";
import { whyOthersMayChange } from "../config/trust.ts";
import { AbortedError, DiskFullError, errnoOf, isDiskFull } from "../errors/index.ts";
import { laterCopyName } from "./catalogue/catalogue.ts";
import {
  type Checksum,
  type ChecksumAlgorithm,
  formatChecksum,
  parseChecksum,
} from "./catalogue/checksum.ts";
import { ImageChecksumMismatchError, ImageInvalidError } from "./errors.ts";
import type { Architecture } from "./image.ts";
import { type FileStamp, inspectImageFile, stampOf, stampOfFile } from "./inspect/image-file.ts";
import { type FileRecord, type ImageIndex, putRecord, recordOf, stampText } from "./index-file.ts";
import { readAt, writeAt } from "./inspect/file-bytes.ts";
import { imageStep, type StoreContext } from "./store-context.ts";

export interface CopyOptions extends WorkContext {
  reference: string;
  architecture: Architecture;
  /** The algorithm of the digest that the copy is known by: the one that its publisher or its user has a checksum of. */
  algorithm: ChecksumAlgorithm;
}

const chunkBytes = 1024 * 1024;
const zeros = Buffer.alloc(chunkBytes);
const unfinishedSuffix = ".copying";

/** The file itself when nobody else can change it, else its copy, which is made now if there is none. */
export async function fileToUse(context: StoreContext, path: string, options: CopyOptions): Promise<string> {
  if ((await whyOthersMayChange(path, context.alsoTrusted)) === undefined) return path;
  // What can't be used is told of the file that its user knows.
  const { stamp } = await inspectImageFile(path);
  const existing = await copyOf(context, await context.index.read(), path, stamp);
  if (existing === undefined) return await makeCopy(context, path, options);
  await adoptVerdict(context, path, { stamp, copy: existing, signal: options.signal });
  return existing.path;
}

/** The record of a copy that is there and has what the file has now. */
export async function copyOf(
  context: StoreContext,
  index: ImageIndex,
  path: string,
  stamp: FileStamp,
): Promise<FileRecord | undefined> {
  for (const record of copiesOf(index, path)) {
    if (record.copyOf?.stamp !== stampText(stamp)) continue;
    const own = await stampOfFile(record.path);
    if (own !== undefined && recordOf(index, record.path, own) !== undefined) return record;
  }
  return undefined;
}

/** All that were made of a file, also of earlier contents. */
export function copiesOf(index: ImageIndex, path: string): FileRecord[] {
  return index.files.filter((record) => record.copyOf?.path === path);
}

/** Removes what copies that were killed have left. */
export async function removeUnfinishedCopies(context: StoreContext): Promise<void> {
  const names = await readdir(context.copyFolder).catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  });
  for (const name of names.filter((name) => name.endsWith(unfinishedSuffix))) {
    const lock = await tryLockForProcess(context.copyFolder, name);
    if (lock === undefined) continue;
    try {
      await rm(join(context.copyFolder, name), { force: true });
    } finally {
      await lock[Symbol.asyncDispose]();
    }
  }
}

/** Holds off whoever would copy the file; `undefined` when somebody is at it. */
export async function tryLockCopying(
  context: StoreContext,
  path: string,
): Promise<AsyncDisposable | undefined> {
  return await tryLockForProcess(context.copyFolder, unfinishedName(path));
}

function unfinishedName(path: string): string {
  return `${createHash("sha256").update(path).digest("hex").slice(0, 16)}${unfinishedSuffix}`;
}

async function makeCopy(context: StoreContext, path: string, options: CopyOptions): Promise<string> {
  const { signal, onStep } = options;
  const name = unfinishedName(path);
  const caller = { signal, onNews: onStep };
  return await context.shared.run(`copy ${path}`, caller, async (signal, tell) => {
    await mkdir(context.copyFolder, { recursive: true, mode: 0o700 });
    const { lock } = await lockForProcess({
      folder: context.copyFolder,
      name,
      what: `the copy of ${path}`,
      signal,
    });
    const unfinished = join(context.copyFolder, name);
    try {
      const stamp = await stampOfFile(path);
      const made = stamp && (await copyOf(context, await context.index.read(), path, stamp));
      return (
        made?.path ?? (await copyLocked(context, path, unfinished, { ...options, signal, onStep: tell }))
      );
    } catch (error) {
      throw isDiskFull(error) ? new DiskFullError("copying an image", context.copyFolder, error) : error;
    } finally {
      await rm(unfinished, { force: true });
      await lock[Symbol.asyncDispose]();
    }
  });
}

async function copyLocked(
  context: StoreContext,
  path: string,
  unfinished: string,
  options: CopyOptions,
): Promise<string> {
  const { signal, architecture } = options;
  const before = await context.index.read();
  const { stamp, digest } = await copyBytes(path, unfinished, {
    ...options,
    // Where bytes were hashed before, the same have to come out.
    algorithmFor: (stamp) => digestOf(before, path, stamp)?.algorithm ?? options.algorithm,
  });
  const known = digestOf(before, path, stamp);
  if (known !== undefined && known.hex !== digest.hex) {
    const { algorithm, hex: expected } = known;
    throw new ImageChecksumMismatchError(
      path,
      { algorithm, expected, actual: digest.hex, source: "what heyvm knows of it" },
      "somebody has changed it: fetch it again, or add it again",
    );
  }
  const copied = await inspectImageFile(unfinished);
  await chmod(unfinished, 0o444);
  const target = join(context.copyFolder, nameOfCopy(path, digest));
  // Recorded first, as what is placed by a download.
  await context.index.change(signal, (index) => {
    const source = recordOf(index, path, stamp);
    putRecord(index, {
      path: target,
      stamp: stampText(copied.stamp),
      digest: formatChecksum(digest),
      // What was verified meanwhile may be other bytes.
      verified: source?.verified === true && source.digest === formatChecksum(digest),
      copyOf: { path, stamp: stampText(stamp) },
      architecture,
    });
  });
  // One that is there already has the same bytes: its name tells so.
  await rename(unfinished, target);
  await syncFolder(context.copyFolder);
  return target;
}

/** Hashes on the way; holes stay holes. */
async function copyBytes(
  path: string,
  target: string,
  options: CopyOptions & { algorithmFor: (stamp: FileStamp) => ChecksumAlgorithm },
): Promise<{ stamp: FileStamp; digest: Checksum }> {
  const { signal, onStep, reference } = options;
  await using source = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  await using copy = await open(target, "w", 0o600);
  const stamp = stampOf(await source.stat({ bigint: true }));
  const algorithm = options.algorithmFor(stamp);
  const hash = createHash(algorithm);
  const totalBytes = stamp.sizeBytes;
  for (let doneBytes = 0; doneBytes < totalBytes;) {
    if (signal.aborted) throw new AbortedError(`copying ${path}`, signal.reason);
    const chunk = await readAt(source, doneBytes, Math.min(chunkBytes, totalBytes - doneBytes));
    if (chunk.length === 0) break;
    hash.update(chunk);
    if (!chunk.equals(zeros.subarray(0, chunk.length))) await writeAt(copy, doneBytes, chunk);
    doneBytes += chunk.length;
    onStep(imageStep("own-copy", reference, { doneBytes, totalBytes }));
  }
  await copy.truncate(totalBytes);
  await copy.sync();
  if (stampText(stampOf(await source.stat({ bigint: true }))) !== stampText(stamp)) {
    const hint = "try again when nobody writes to it";
    throw new ImageInvalidError(path, "it was changed while it was copied", { hint });
  }
  return { stamp, digest: { algorithm, hex: hash.digest("hex") } };
}

/** A later look may have compared the file with its publisher's checksum: the same bytes are then verified, too. */
async function adoptVerdict(
  context: StoreContext,
  path: string,
  { stamp, copy, signal }: { stamp: FileStamp; copy: FileRecord; signal: AbortSignal },
): Promise<void> {
  const source = recordOf(await context.index.read(), path, stamp);
  if (copy.verified || source?.verified !== true || source.digest !== copy.digest) return;
  await context.index.change(signal, (index) => {
    putRecord(index, { ...copy, verified: true });
  });
}

function digestOf(index: ImageIndex, path: string, stamp: FileStamp): Checksum | undefined {
  const digest = recordOf(index, path, stamp)?.digest;
  return digest === undefined ? undefined : parseChecksum(digest);
}

/** The name of a copy of one file and one content. */
function nameOfCopy(path: string, digest: Checksum): string {
  const key = createHash("sha256")
    .update(JSON.stringify([path, digest.hex]))
    .digest("hex");
  const name = basename(path);
  return name.includes(".", 1) ? laterCopyName(name, key) : `${name}-${key.slice(0, 12)}`;
}
