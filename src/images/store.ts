import { HeyvmError } from "../errors/index.ts";
import type { ImageStore, ImageStoreOptions } from "./types.ts";

/** The store of one user's images. Holds nothing open: nothing to close. */
export function createImageStore(_options: ImageStoreOptions): ImageStore {
  const later = (): never => {
    throw new HeyvmError("internal", "the image store is not there yet");
  };
  return { resolve: later, list: later, supported: later, add: later, remove: later, prune: later };
}
