export { leastMemoryOf } from "./catalogue/catalogue.ts";
export type { Architecture, Image } from "./image.ts";
export { progressAsSteps } from "./steps.ts";
export { createImageStore } from "./store.ts";
export type {
  AddOptions,
  DownloadTimeouts,
  ImagePhase,
  ImageProgress,
  ImageStore,
  ImageStoreOptions,
  ImageWork,
  ResolveOptions,
  StoredImage,
  SupportedImage,
} from "./types.ts";
