/** Puts a verified download where it may be used. */
import { chmod, rename } from "node:fs/promises";
import { join } from "node:path";

import { syncFolder } from "../core/atomic-file.ts";
import { laterCopyName } from "./catalogue/catalogue.ts";
import { type Checksum, formatChecksum } from "./catalogue/checksum.ts";
import type { DownloadSubject } from "./download/download-errors.ts";
import { ImageInvalidError } from "./errors.ts";
import { type InspectedFile, inspectImageFile, stampOfFile } from "./inspect/image-file.ts";
import { putRecord, recordOf, stampText } from "./index-file.ts";
import type { ImageOrigin } from "./origin.ts";
import { removePartial } from "./download/partial-file.ts";
import type { StoreContext } from "./store-context.ts";

export interface Placement {
  partialPath: string;
  fileName: string;
  subject: DownloadSubject;
  digest: Checksum;
  expected: object | undefined;
  origin: ImageOrigin;
  signal: AbortSignal;
}

/**
 * The image's path. A file that is there already is never replaced, because disks may stand on it: newer bytes get a
 * name of their own.
 */
export async function place(context: StoreContext, placement: Placement): Promise<string> {
  const { partialPath, digest, origin, subject, signal } = placement;
  const { stamp } = await inspectDownload(partialPath, subject);
  const path = await freePath(context, placement);
  if (path.taken) {
    await removePartial(partialPath);
    return path.path;
  }
  await chmod(partialPath, 0o444);
  // Recorded first: a crash in between leaves a record without a file, and never a file of unknown origin.
  await context.index.change(signal, (index) => {
    putRecord(index, {
      path: path.path,
      stamp: stampText(stamp),
      digest: formatChecksum(digest),
      verified: placement.expected !== undefined,
      download: { reference: origin.reference, url: subject.url, fetchedAt: new Date().toISOString() },
      architecture: origin.architecture,
    });
  });
  await rename(partialPath, path.path);
  await removePartial(partialPath);
  await syncFolder(context.downloadFolder);
  return path.path;
}

async function inspectDownload(path: string, subject: DownloadSubject): Promise<InspectedFile> {
  try {
    return await inspectImageFile(path);
  } catch (error) {
    await removePartial(path);
    if (!(error instanceof ImageInvalidError)) throw error;
    const hint = "take the URL of a qcow2 or raw cloud image";
    throw new ImageInvalidError(subject.url, error.reason, { cause: error, hint });
  }
}

/** `taken`: exactly these bytes are there already. */
async function freePath(
  context: StoreContext,
  { fileName, digest }: Placement,
): Promise<{ path: string; taken: boolean }> {
  const index = await context.index.read();
  for (const name of [fileName, laterCopyName(fileName, digest.hex)]) {
    const path = join(context.downloadFolder, name);
    const stamp = await stampOfFile(path);
    if (stamp === undefined) return { path, taken: false };
    if (recordOf(index, path, stamp)?.digest === formatChecksum(digest)) return { path, taken: true };
  }
  // A name with the digest in it whose bytes are others: damaged.
  return { path: join(context.downloadFolder, laterCopyName(fileName, digest.hex)), taken: false };
}
