/** Removes what no sandbox needs. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";

import { errnoOf } from "../errors/index.ts";
import { stampOfFile } from "./inspect/image-file.ts";
import { dropRecord, type FileRecord, stampText } from "./index-file.ts";
import { removeUnfinishedCopies, tryLockCopying } from "./own-copy.ts";
import { partialSuffix } from "./download/partial-file.ts";
import { isInUse, removeFile, removeInterrupted, type RemoveOptions } from "./remove.ts";
import type { StoreContext } from "./store-context.ts";

/** Returns in words what went. */
export async function pruneImages(
  context: StoreContext,
  options: RemoveOptions & { everything: boolean },
): Promise<string[]> {
  const copying: AsyncDisposable[] = [];
  try {
    return await pruneHolding(context, options, copying);
  } finally {
    for (const lock of copying) await lock[Symbol.asyncDispose]();
  }
}

/** `copying`: what keeps the copies from being made anew whose records go. */
async function pruneHolding(
  context: StoreContext,
  options: RemoveOptions & { everything: boolean },
  copying: AsyncDisposable[],
): Promise<string[]> {
  const index = await context.index.read();
  const gone: string[] = [];
  for (const { path, copyOf } of index.files) {
    if ((await stampOfFile(path)) !== undefined) continue;
    // One that is on its way is recorded before it has its name.
    if (copyOf !== undefined) {
      const lock = await tryLockCopying(context, copyOf.path);
      if (lock === undefined) continue;
      copying.push(lock);
      if ((await stampOfFile(path)) !== undefined) continue;
    }
    gone.push(path);
  }
  const downloads = index.files.filter(
    ({ path, download }) => download !== undefined && !gone.includes(path),
  );
  const copies = index.files.filter(({ path, copyOf }) => copyOf !== undefined && !gone.includes(path));
  const candidates = options.everything
    ? [...downloads, ...copies]
    : [...downloads.filter((one) => isReplaced(one, downloads)), ...(await outdated(copies))];
  if (options.unknown !== undefined && candidates.length > 0) throw options.unknown;
  const removed = await pruneInterrupted(context, options.signal);
  await removeUnfinishedCopies(context);
  for (const { path, download, copyOf } of candidates) {
    options.signal.throwIfAborted();
    if (await isInUse(index, path, options)) continue;
    const what = copyOf === undefined ? (download?.reference ?? path) : `a copy of ${copyOf.path}`;
    removed.push(await removeFile(what, path));
    gone.push(path);
  }
  if (gone.length > 0) {
    await context.index.change(options.signal, (changing) => {
      for (const path of gone) dropRecord(changing, path);
    });
  }
  return removed;
}

/** Copies of what is not there any more. */
async function outdated(copies: readonly FileRecord[]): Promise<FileRecord[]> {
  const found: FileRecord[] = [];
  for (const copy of copies) {
    const source = copy.copyOf === undefined ? undefined : await stampOfFile(copy.copyOf.path);
    if (source === undefined || stampText(source) !== copy.copyOf?.stamp) found.push(copy);
  }
  return found;
}

/** Whether the same was downloaded again later. */
function isReplaced(record: FileRecord, downloads: readonly FileRecord[]): boolean {
  const { download, architecture } = record;
  if (download === undefined) return false;
  return downloads.some(
    (other) =>
      other.download?.reference === download.reference &&
      other.architecture === architecture &&
      other.download.fetchedAt > download.fetchedAt,
  );
}

async function pruneInterrupted(context: StoreContext, signal: AbortSignal): Promise<string[]> {
  const names = await namesIn(context.downloadFolder);
  const removed: string[] = [];
  for (const name of names.filter((name) => name.endsWith(partialSuffix))) {
    signal.throwIfAborted();
    const stamp = await stampOfFile(join(context.downloadFolder, name));
    // Somebody else's files may end so, too: ours are described beside it, or still empty.
    if (stamp === undefined || (stamp.sizeBytes > 0 && !names.includes(`${name}.json`))) continue;
    removed.push(...(await removeInterrupted(context, name.slice(0, -partialSuffix.length))));
  }
  for (const name of names) {
    const owner = /\.partial\.json\.(\d+)-[0-9a-f]{8}\.tmp$/.exec(name)?.[1];
    if (owner !== undefined && !isAlive(Number(owner))) {
      await rm(join(context.downloadFolder, name), { force: true });
    }
  }
  return removed;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) !== "ESRCH";
  }
}
