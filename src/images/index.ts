export { leastMemoryOf } from "./catalogue/catalogue.ts";
export type { Architecture, Image } from "./image.ts";
export { createImageStore } from "./store.ts";
export type {
  AddOptions,
  DownloadTimeouts,
  ImageStore,
  ImageStoreOptions,
  ImageUse,
  ImageWork,
  ResolveOptions,
  StoredImage,
  SupportedImage,
} from "./types.ts";
