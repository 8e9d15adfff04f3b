/** What the routes need of the image store. */
import type { WorkContext } from "../core/step.ts";
import type { Image } from "../images/image.ts";
import type { ImageUse } from "../images/types.ts";
import type { ImageSource } from "../sandbox/index.ts";

export interface StoredImage extends Image {
  /** As it is asked for. */
  name: string;
  sizeBytes: number;
  /** Its bytes were compared with a checksum of its publisher's or its user's. */
  verified: boolean;
}

export interface SupportedImage {
  name: string;
  description: string;
  url: string;
  /** Where it is on this host already. */
  path: string | undefined;
}

export interface ImageService extends ImageSource {
  list(signal: AbortSignal): Promise<StoredImage[]>;
  supported(signal: AbortSignal): Promise<SupportedImage[]>;
  pull(reference: string, options: WorkContext & { force: boolean }): Promise<StoredImage>;
  add(
    name: string,
    source: string,
    options: WorkContext & { checksum: string | undefined },
  ): Promise<StoredImage>;
  /** Throws `image_in_use` for what is in use, and what `unknown` is for what may be. */
  remove(name: string, options: ImageUse & { signal: AbortSignal }): Promise<string[]>;
  prune(options: ImageUse & { everything: boolean; signal: AbortSignal }): Promise<string[]>;
}
