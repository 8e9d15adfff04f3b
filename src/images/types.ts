/** What the image store offers. */
import type { Publisher } from "../config/publishers.ts";
import type { WorkContext } from "../core/step.ts";
import type { Mirrors } from "./catalogue/catalogue.ts";
import type { Architecture, Image } from "./image.ts";

export interface ImageStoreOptions {
  /** Where images are looked for, in this order; the last is made when missing and receives downloads. */
  searchFolders: readonly string[];
  /** File of the names that the user added and of where downloads came from. Its folder is made when missing. */
  indexPath: string;
  /** Copies of files that others may change. Made when missing, for this user alone. */
  copyFolder: string;
  /** Names of accounts that may own an image beside root and this user: QEMU's, to which libvirt gives what it uses. */
  alsoTrusted?: readonly string[] | undefined;
  mirrors?: Mirrors | undefined;
  timeouts?: Partial<DownloadTimeouts> | undefined;
  /** Where a server doesn't announce how long a file is. Default: 32 GiB. */
  maxUnannouncedBytes?: number | undefined;
}

export interface DownloadTimeouts {
  /** Until the server accepts a connection. */
  connectMs: number;
  /** Until it begins to answer. */
  answerMs: number;
  /** Without a single byte, in the middle of an answer. */
  stallMs: number;
  /** For one file, with all attempts. */
  totalMs: number;
  /** Before the second attempt; doubles with each further one. */
  retryDelayMs: number;
  /** Attempts in a row that brought nothing new, before it is given up. */
  attempts: number;
}

/** How a method is ended, and whom it tells how far it is. */
export interface ImageWork {
  signal: AbortSignal;
  onStep?: WorkContext["onStep"] | undefined;
}

export interface ResolveOptions extends ImageWork {
  /** Default: this host's. */
  architecture?: Architecture | undefined;
  /**
   * `missing` (default): only when it is in no folder. `always`: asks the publisher what is current, and downloads
   * unless exactly that is here. `never`: throws `image_not_found` instead.
   */
  download?: "missing" | "always" | "never" | undefined;
}

export interface AddOptions extends ImageWork {
  architecture?: Architecture | undefined;
  /** `sha256:…` or `sha512:…` that the bytes must have. */
  checksum?: string | undefined;
}

/** An image as the store knows it. */
export interface StoredImage extends Image {
  /** As it is asked for: a name of the catalogue, one that the user gave, a URL, or a path. */
  name: string;
  sizeBytes: number;
  /** Where it was downloaded from; absent for a file that was found or added. */
  url?: string | undefined;
  fetchedAt?: string | undefined;
  /** Its bytes were compared with the publisher's checksum, or with the one that the user gave. */
  verified: boolean;
}

/** An entry of the catalogue. */
export interface SupportedImage {
  name: string;
  description: string;
  publisher: Publisher;
  /** Where it comes from, mirror applied; for Alpine the folder, whose newest point release is taken. */
  url: string;
  /** Where it is on this host already. */
  path: string | undefined;
}

/** What may not be removed. */
export interface ImageUse {
  /** Fingerprints of images that disks stand on. */
  inUse: ReadonlySet<string>;
  /** Why there may be more of them: thrown instead of removing what may be one. */
  unknown?: Error | undefined;
}

export interface ImageStore {
  /** The image that a name, a path or a URL stands for, checked and ready to be used; downloads it when needed. */
  resolve(reference: string, options: ResolveOptions): Promise<StoredImage>;
  /** Those that are on this host. What is in the folders and nobody named is not heyvm's, and is left out. */
  list(signal: AbortSignal): Promise<StoredImage[]>;
  /** The catalogue. */
  supported(signal: AbortSignal): Promise<SupportedImage[]>;
  /** Gives a name to a file, which stays where it is, or to a URL, which is downloaded. */
  add(name: string, source: string, options: AddOptions): Promise<StoredImage>;
  /**
   * Removes a download, or forgets a name (a file of the user's is never touched). Returns in words what went. Throws
   * `image_in_use` when its fingerprint is in `inUse`.
   */
  remove(reference: string, options: ImageUse & { signal: AbortSignal }): Promise<string[]>;
  /**
   * Removes interrupted downloads and downloads that a newer one replaced; with `everything` each download that nobody
   * uses. Returns in words what went.
   */
  prune(options: ImageUse & { everything?: boolean | undefined; signal: AbortSignal }): Promise<string[]>;
}
