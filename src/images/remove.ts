/** Removes images by name, path or URL. */
import { rm } from "node:fs/promises";

import { formatSize } from "../config/size.ts";
import { tryLockForProcess } from "../core/process-lock.ts";
import { findInCatalogue } from "./catalogue/catalogue.ts";
import { shellQuoted } from "../errors/index.ts";
import { ImageInUseError, ImageNotFoundError } from "./errors.ts";
import { findAll, findFirst } from "./folders.ts";
import { hashFile } from "./inspect/file-bytes.ts";
import { architectures } from "./image.ts";
import { fingerprintOfStamp, stampOfFile } from "./inspect/image-file.ts";
import { dropRecord, type ImageIndex, isOurs, type NameRecord, recordOf, stampText } from "./index-file.ts";
import { copiesOf } from "./own-copy.ts";
import { removePartial } from "./download/partial-file.ts";
import { parseReference } from "./catalogue/reference.ts";
import { catalogueOrigin, otherPaths, pathOfName, urlOrigin } from "./origin.ts";
import type { ImageUse } from "./types.ts";
import { downloadKey, hostArchitecture, partialPathOf, type StoreContext } from "./store-context.ts";

export interface RemoveOptions extends ImageUse {
  signal: AbortSignal;
}

/** What will go: files of the store, and a name. */
interface Removal {
  paths: string[];
  name: string | undefined;
  /** Downloads whose beginning may lie around. */
  keys: string[];
}

export async function removeImage(
  context: StoreContext,
  reference: string,
  options: RemoveOptions,
): Promise<string[]> {
  const index = await context.index.read();
  const removal = await findRemoval(context, index, reference, options);
  // All or nothing: checked before anything goes.
  for (const path of removal.paths) await refuseInUse(index, reference, path, options);
  const removed: string[] = [];
  for (const path of removal.paths) removed.push(await removeFile(reference, path));
  for (const key of removal.keys) removed.push(...(await removeInterrupted(context, key)));
  const { name } = removal;
  if (name !== undefined) removed.push(`the name ${name}`);
  await context.index.change(options.signal, (changing) => {
    for (const path of removal.paths) dropRecord(changing, path);
    changing.names = changing.names.filter((other) => other.name !== name);
  });
  return removed;
}

/** Deletes one file of the store; returns in words. */
export async function removeFile(reference: string, path: string): Promise<string> {
  const stamp = await stampOfFile(path);
  await rm(path, { force: true });
  return `${reference} (${path}, ${formatSize(stamp?.sizeBytes ?? 0)})`;
}

/** Whether a disk stands on the file, by any of the fingerprints that it may have been used under. */
export async function isInUse(
  index: ImageIndex,
  path: string,
  { inUse, signal }: RemoveOptions,
): Promise<boolean> {
  const stamp = await stampOfFile(path);
  if (stamp === undefined || inUse.size === 0) return false;
  if (inUse.has(fingerprintOfStamp(stamp))) return true;
  const digest = recordOf(index, path, stamp)?.digest;
  if (digest !== undefined && inUse.has(digest)) return true;
  // Its record is lost, or was verified by another algorithm since: the bytes themselves have to tell.
  for (const algorithm of ["sha256", "sha512"] as const) {
    if (digest?.startsWith(`${algorithm}:`) === true) continue;
    if (![...inUse].some((fingerprint) => fingerprint.startsWith(algorithm))) continue;
    const { hex } = await hashFile(path, algorithm, { signal });
    if (inUse.has(`${algorithm}:${hex}`)) return true;
  }
  return false;
}

/** Removes the beginning of a download, unless it is going on. */
export async function removeInterrupted(context: StoreContext, key: string): Promise<string[]> {
  const path = partialPathOf(context, key);
  const stamp = await stampOfFile(path);
  if (stamp === undefined) return [];
  const lock = await tryLockForProcess(context.downloadFolder, key);
  if (lock === undefined) return [];
  try {
    await removePartial(path);
  } finally {
    await lock[Symbol.asyncDispose]();
  }
  return [`an interrupted download (${path}, ${formatSize(stamp.sizeBytes)})`];
}

async function refuseInUse(
  index: ImageIndex,
  reference: string,
  path: string,
  options: RemoveOptions,
): Promise<void> {
  if (await isInUse(index, path, options)) throw new ImageInUseError(reference, path);
  if (options.unknown !== undefined) throw options.unknown;
}

async function findRemoval(
  context: StoreContext,
  index: ImageIndex,
  reference: string,
  options: RemoveOptions,
): Promise<Removal> {
  const parsed = parseReference(reference);
  if (parsed.kind === "url") return await urlRemoval(context, index, parsed.url, reference);
  if (parsed.kind === "path") return pathRemoval(index, reference, parsed.path);
  if (findInCatalogue(parsed.name) !== undefined) return await catalogueRemoval(context, index, parsed.name);
  const named = index.names.find(({ name }) => name === parsed.name);
  if (named === undefined) {
    throw new ImageNotFoundError(reference, "there is no image of that name", "heyvm images list");
  }
  return await nameRemoval(context, index, named, options);
}

/** A name may always go while another stands for the same: what disks stand on stays then. */
async function nameRemoval(
  context: StoreContext,
  index: ImageIndex,
  named: NameRecord,
  options: RemoveOptions,
): Promise<Removal> {
  const { name } = named;
  const path = await pathOfName(context, named);
  const others = await otherPaths(context, index, named);
  if (path === undefined || others.includes(path)) return { paths: [], name, keys: [] };
  const isDownload = named.source.includes("://");
  const files = [...(isDownload ? [path] : []), ...copiesOf(index, path).map((copy) => copy.path)];
  if (!(await hasContentOf(index, path, others))) {
    // A file of the user's stays, but not without a name while disks stand on it.
    await refuseInUse(index, name, path, options);
    return { paths: files, name, keys: [] };
  }
  const paths: string[] = [];
  for (const file of options.unknown === undefined ? files : []) {
    if (!(await isInUse(index, file, options))) paths.push(file);
  }
  return { paths, name, keys: [] };
}

/** Whether one of `others` is known to have the same bytes. */
async function hasContentOf(index: ImageIndex, path: string, others: readonly string[]): Promise<boolean> {
  const content = await contentsOf(index, path);
  for (const other of others) {
    if ((await contentsOf(index, other)).some((fingerprint) => content.includes(fingerprint))) return true;
  }
  return false;
}

/** The fingerprints that a file, or a copy of what it is now, is used under. */
async function contentsOf(index: ImageIndex, path: string): Promise<string[]> {
  const stamp = await stampOfFile(path);
  if (stamp === undefined) return [];
  const copies = copiesOf(index, path).filter(({ copyOf }) => copyOf?.stamp === stampText(stamp));
  const digests = copies.map(({ digest }) => digest);
  return [...digests, recordOf(index, path, stamp)?.digest ?? fingerprintOfStamp(stamp)];
}

async function catalogueRemoval(context: StoreContext, index: ImageIndex, name: string): Promise<Removal> {
  const removal: Removal = { paths: [], name: undefined, keys: [] };
  let elsewhere: string | undefined;
  for (const architecture of architectures) {
    const origin = catalogueOrigin(context, name, architecture);
    if (origin?.kind !== "catalogue") continue;
    const found = await findAll(context.downloadFolder, origin.names);
    removal.paths.push(...found.map(({ path }) => path));
    const key = downloadKey(origin.entry, architecture);
    if ((await stampOfFile(partialPathOf(context, key))) !== undefined) removal.keys.push(key);
    const first = (await findFirst(origin.folders, origin.names))?.path;
    elsewhere ??= first;
    const sources = new Set([...found.map(({ path }) => path), ...(first === undefined ? [] : [first])]);
    for (const source of sources) removal.paths.push(...copiesOf(index, source).map(({ path }) => path));
  }
  if (removal.paths.length > 0 || removal.keys.length > 0) return removal;
  throw elsewhere === undefined
    ? new ImageNotFoundError(name, "it is not on this host", "heyvm images list")
    : new ImageNotFoundError(
        name,
        `${elsewhere} was not brought by heyvm`,
        `remove it yourself: rm ${elsewhere}`,
      );
}

async function urlRemoval(
  context: StoreContext,
  index: ImageIndex,
  url: URL,
  reference: string,
): Promise<Removal> {
  const origin = urlOrigin(context, url, { reference, architecture: hostArchitecture() });
  if (origin.kind !== "url") return { paths: [], name: undefined, keys: [] };
  const paths = (await findAll(context.downloadFolder, origin.names)).map(({ path }) => path);
  const key = downloadKey({ urlFileName: origin.fileName }, origin.architecture);
  const isPartial = (await stampOfFile(partialPathOf(context, key))) !== undefined;
  if (paths.length === 0 && !isPartial) {
    throw new ImageNotFoundError(origin.reference, "it is not on this host", "heyvm images list");
  }
  const copies = paths.flatMap((source) => copiesOf(index, source)).map(({ path }) => path);
  return { paths: [...paths, ...copies], name: undefined, keys: isPartial ? [key] : [] };
}

function pathRemoval(index: ImageIndex, reference: string, path: string): Removal {
  const record = index.files.find((file) => file.path === path && isOurs(file));
  const copies = copiesOf(index, path).map((copy) => copy.path);
  const paths = record === undefined ? copies : [path, ...copies];
  if (paths.length > 0) return { paths, name: undefined, keys: [] };
  const name = index.names.find(({ source }) => source === path)?.name;
  const hint = name === undefined ? `remove it yourself: rm ${shellQuoted(path)}` : `heyvm images rm ${name}`;
  throw new ImageNotFoundError(reference, "heyvm did not download it", hint);
}
