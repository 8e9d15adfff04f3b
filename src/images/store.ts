import { resolve } from "node:path";

import { createSharedWork } from "../core/shared-work.ts";
import { inConsecutiveSteps } from "../core/step.ts";
import { InvalidArgumentError } from "../errors/index.ts";
import { addImage } from "./add.ts";
import { openIndex } from "./index-file.ts";
import { listImages, listSupported } from "./list.ts";
import { pruneImages } from "./prune.ts";
import { removeImage } from "./remove.ts";
import { resolveImage } from "./resolve.ts";
import type { StoreContext } from "./store-context.ts";
import type { DownloadTimeouts, ImageStore, ImageStoreOptions } from "./types.ts";

const defaultTimeouts: DownloadTimeouts = {
  connectMs: 10_000,
  answerMs: 30_000,
  stallMs: 30_000,
  totalMs: 6 * 60 * 60 * 1000,
  retryDelayMs: 500,
  attempts: 4,
};

/** More than cloud images have, and less than most disks. */
const defaultMaxUnannouncedBytes = 32 * 2 ** 30;

/** The store of one user's images. Holds nothing open between calls: nothing to close. */
export function createImageStore(options: ImageStoreOptions): ImageStore {
  const searchFolders = options.searchFolders.map((folder) => resolve(folder));
  const downloadFolder = searchFolders.at(-1);
  if (downloadFolder === undefined) {
    throw new InvalidArgumentError("image_folders", "there must be at least one folder for images");
  }
  const context: StoreContext = {
    searchFolders,
    downloadFolder,
    copyFolder: resolve(options.copyFolder),
    alsoTrusted: options.alsoTrusted ?? [],
    index: openIndex(options.indexPath),
    mirrors: options.mirrors ?? {},
    timeouts: { ...defaultTimeouts, ...options.timeouts },
    maxUnannouncedBytes: options.maxUnannouncedBytes ?? defaultMaxUnannouncedBytes,
    shared: createSharedWork("the download"),
  };
  return {
    resolve: async (reference, work) =>
      await inConsecutiveSteps(
        work.onStep,
        async (onStep) => await resolveImage(context, reference, { ...work, onStep }),
      ),
    list: async (signal) => await listImages(context, signal),
    supported: async (signal) => await listSupported(context, signal),
    add: async (name, source, work) =>
      await inConsecutiveSteps(
        work.onStep,
        async (onStep) => await addImage(context, name, source, { ...work, onStep }),
      ),
    remove: async (reference, removeOptions) => await removeImage(context, reference, removeOptions),
    prune: async ({ everything = false, ...options }) =>
      await pruneImages(context, { ...options, everything }),
  };
}
