/** What is on this host. */
import { catalogue, namesOf, publisherUrl } from "./catalogue/catalogue.ts";
import { ImageInvalidError, ImageNotFoundError } from "./errors.ts";
import { findFirst } from "./folders.ts";
import { stampOfFile } from "./inspect/image-file.ts";
import type { ImageIndex } from "./index-file.ts";
import { copyOf } from "./own-copy.ts";
import { parseReference } from "./catalogue/reference.ts";
import { catalogueOrigins, pathOfName, urlOrigin } from "./origin.ts";
import { hostArchitecture, type ImageLabel, type StoreContext, toStoredImage } from "./store-context.ts";
import type { StoredImage, SupportedImage } from "./types.ts";

/** Every image that a name stands for, and every download; files that can't be used are left out. */
export async function listImages(context: StoreContext, signal: AbortSignal): Promise<StoredImage[]> {
  const index = await context.index.read();
  const labels = new Map<string, ImageLabel>();
  for (const { folders, names, reference, architecture } of catalogueOrigins(context)) {
    const found = await findFirst(folders, names);
    if (found !== undefined) labels.set(found.path, { name: reference, reference, architecture });
  }
  for (const named of index.names) {
    const { name, architecture } = named;
    const path = await pathOfName(context, named);
    if (path !== undefined && !labels.has(path)) labels.set(path, { name, reference: name, architecture });
  }
  for (const { path, download, architecture } of index.files) {
    if (download === undefined || labels.has(path)) continue;
    // One that a newer download replaced has no other name than its path.
    const name = (await isCurrentUrl(context, download.reference, path)) ? download.reference : path;
    labels.set(path, { name, reference: name, architecture });
  }
  const images: StoredImage[] = [];
  for (const [path, label] of labels) {
    signal.throwIfAborted();
    const image = await usable(context, path, index, label);
    if (image !== undefined) images.push(image);
  }
  return images;
}

export async function listSupported(context: StoreContext, signal: AbortSignal): Promise<SupportedImage[]> {
  const supported: SupportedImage[] = [];
  for (const entry of catalogue) {
    signal.throwIfAborted();
    const { name, description, publisher, folder } = entry;
    const names = namesOf(entry.fileName(hostArchitecture()));
    const url = publisherUrl(publisher, folder + (names.fileName ?? ""), context.mirrors).href;
    const path = (await findFirst(context.searchFolders, names))?.path;
    supported.push({ name, description, publisher, url, path });
  }
  return supported;
}

async function isCurrentUrl(context: StoreContext, reference: string, path: string): Promise<boolean> {
  // A shortened query can't be asked for again.
  if (!reference.includes("://") || reference.endsWith("?…")) return false;
  const parsed = parseReference(reference);
  if (parsed.kind !== "url") return false;
  const origin = urlOrigin(context, parsed.url, { reference, architecture: hostArchitecture() });
  return (await findFirst(origin.folders, origin.names))?.path === path;
}

/** As it is used: a file that others may change is, once there is one, its copy. */
async function usable(
  context: StoreContext,
  path: string,
  index: ImageIndex,
  label: ImageLabel,
): Promise<StoredImage | undefined> {
  try {
    const stamp = await stampOfFile(path);
    const copy = stamp === undefined ? undefined : await copyOf(context, index, path, stamp);
    return await toStoredImage(copy?.path ?? path, index, label);
  } catch (error) {
    if (error instanceof ImageInvalidError || error instanceof ImageNotFoundError) return undefined;
    throw error;
  }
}
