/** What the store's use cases share. */
import { join } from "node:path";

import type { SharedWork } from "../core/shared-work.ts";
import type { Step } from "../core/step.ts";
import type { CatalogueEntry, Mirrors } from "./catalogue/catalogue.ts";
import { fingerprintOfStamp, inspectImageFile } from "./inspect/image-file.ts";
import type { Architecture } from "./image.ts";
import { type ImageIndex, type IndexFile, recordOf } from "./index-file.ts";
import type { DownloadTimeouts, StoredImage } from "./types.ts";

/** Looking and storing are over in a moment, and no steps. */
const titles = {
  checksum: "Asking what is current for",
  // For another process that already downloads the same.
  wait: "Waiting for another download of",
  download: "Downloading",
  verify: "Verifying",
  "own-copy": "Making a private copy of",
};

export type ImageAction = keyof typeof titles;

export interface StoreContext {
  searchFolders: readonly string[];
  /** The last of them. */
  downloadFolder: string;
  /** Where the copies are that nobody else can change. */
  copyFolder: string;
  alsoTrusted: readonly string[];
  index: IndexFile;
  mirrors: Mirrors;
  timeouts: DownloadTimeouts;
  maxUnannouncedBytes: number;
  shared: SharedWork<string, Step>;
}

/** How an image is called in answers. */
export interface ImageLabel {
  name: string;
  reference: string;
  architecture: Architecture;
}

/** The image that a file is; throws `image_invalid` when it can't be used. */
export async function toStoredImage(
  path: string,
  index: ImageIndex,
  label: ImageLabel,
): Promise<StoredImage> {
  const { format, sizeBytes, virtualSizeBytes, stamp } = await inspectImageFile(path);
  const record = recordOf(index, path, stamp);
  return {
    ...label,
    path,
    format,
    sizeBytes,
    virtualSizeBytes,
    fingerprint: record?.digest ?? fingerprintOfStamp(stamp),
    verified: record?.verified ?? false,
    url: record?.download?.url,
    fetchedAt: record?.download?.fetchedAt,
  };
}

export function hostArchitecture(): Architecture {
  return process.arch === "arm64" ? "aarch64" : "x86_64";
}

/** Name of the lock under which an image is downloaded, and of its partial file. */
export function downloadKey(
  source: CatalogueEntry | { urlFileName: string },
  architecture: Architecture,
): string {
  return "urlFileName" in source
    ? source.urlFileName
    : `${source.name.replaceAll(/[^a-z0-9.]/g, "-")}-${architecture}`;
}

export function partialPathOf(context: StoreContext, key: string): string {
  return join(context.downloadFolder, `${key}.partial`);
}

/** What is done for an image, as a step for its user to watch. `reference`: as that user named it. */
export function imageStep(
  action: ImageAction,
  reference: string,
  measure: Pick<Step, "doneBytes" | "totalBytes"> = {},
): Step {
  return { id: `image-${action}`, title: `${titles[action]} ${reference}`, state: "progress", ...measure };
}
