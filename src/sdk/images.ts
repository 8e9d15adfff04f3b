/** Cloud images on the daemon's host. */
import type { ImageAnswer, Pruned, SupportedImageAnswer } from "../api/schema.ts";
import type { CallOptions } from "../core/deadline.ts";
import { type ProgressOptions, requestWithProgress } from "./progress.ts";
import type { Transport } from "./transport.ts";

export interface ImageInfo {
  /** As it is asked for: `debian:12`, or the name it was added under. */
  name: string;
  path: string;
  format: "qcow2" | "raw";
  sizeBytes: number;
  /** The size of the disk that a guest sees. */
  virtualSizeBytes: number;
  /** Changes whenever the bytes do. */
  fingerprint: string;
  architecture: string;
  /** Its bytes were compared with the publisher's checksum, or with the one that was given. */
  verified: boolean;
  /** A sandbox or a prepared disk stands on it. */
  inUse: boolean;
  /** The document as on the wire, snake case. */
  toJSON(): ImageAnswer;
}

export type SupportedImage = SupportedImageAnswer;

export interface Images {
  /** Those that are on the host. */
  list(options?: CallOptions): Promise<ImageInfo[]>;
  /** Those that can be had by name. */
  supported(options?: CallOptions): Promise<SupportedImage[]>;
  /** Downloads and verifies; at once done when it is there, unless `force`. */
  pull(image: string, options?: ProgressOptions & { force?: boolean }): Promise<ImageInfo>;
  /** Gives a name to an image of your own: a path on the daemon's host, or a URL. */
  add(
    name: string,
    source: string,
    options?: ProgressOptions & { checksum?: string | undefined },
  ): Promise<ImageInfo>;
  remove(name: string, options?: CallOptions): Promise<void>;
  /** Removes what nobody uses; answers in words what went. */
  prune(options?: CallOptions & { everything?: boolean }): Promise<string[]>;
}

type ImageResult = ImageAnswer & { type: "image" };

export function createImages(transport: Transport): Images {
  const send = async (path: string, body: object, options: ProgressOptions): Promise<ImageInfo> =>
    toImageInfo(await requestWithProgress<ImageResult>(transport, path, body, options));
  return {
    list: async (options) =>
      (await transport.json<ImageAnswer[]>("GET", "/images", options)).map(toImageInfo),
    supported: (options) => transport.json<SupportedImage[]>("GET", "/images/supported", options),
    pull: (image, options = {}) => send("/images/pull", { image, force: options.force }, options),
    add: (name, source, options = {}) =>
      send("/images", { name, source, checksum: options.checksum }, options),
    async remove(name, options = {}) {
      await transport.json("DELETE", `/images/${encodeURIComponent(name)}`, options);
    },
    async prune(options = {}) {
      const { everything, ...call } = options;
      return (await transport.json<Pruned>("POST", "/images/prune", { ...call, body: { everything } }))
        .removed;
    },
  };
}

function toImageInfo(answer: ImageAnswer): ImageInfo {
  return {
    name: answer.name,
    path: answer.path,
    format: answer.format,
    sizeBytes: answer.size,
    virtualSizeBytes: answer.virtual_size,
    fingerprint: answer.fingerprint,
    architecture: answer.architecture,
    verified: answer.verified,
    inUse: answer.in_use,
    toJSON: () => answer,
  };
}
