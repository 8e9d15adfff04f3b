import type { Step } from "../../core/step.ts";
import { ImageInUseError } from "../../images/errors.ts";
import type { Image } from "../../images/image.ts";
import { HeyvmError } from "../../errors/index.ts";
import type { ImageStore, StoredImage } from "../../images/index.ts";

const image: Image = {
  reference: "ubuntu:24.04",
  path: "/nowhere/ubuntu.img",
  format: "qcow2",
  virtualSizeBytes: 2 ** 31,
  fingerprint: "sha256:test",
  architecture: "x86_64",
};
const stored: StoredImage = { ...image, name: image.reference, sizeBytes: 4096, verified: true };

/** Resolved with a warning. */
export const dubiousImage = "debian:12";
export const dubiousWarning = "the image debian:12 was found somewhere";

/** Its download takes the last room of the disk. */
export const largeImage = "fedora:43";

async function resolve(reference: string, onStep: ((step: Step) => void) | undefined): Promise<StoredImage> {
  if (reference === largeImage) {
    const step = { id: "download", title: `Downloading ${reference}` };
    onStep?.({ ...step, state: "started" });
    onStep?.({ ...step, state: "progress", doneBytes: 2 ** 27, totalBytes: 2 ** 28 });
    onStep?.({ ...step, state: "done" });
    throw new HeyvmError("disk_full", "no room");
  }
  if (reference === dubiousImage) {
    return await Promise.resolve({
      ...stored,
      reference,
      name: reference,
      verified: false,
      warning: dubiousWarning,
    });
  }
  if (reference === image.reference) return await Promise.resolve(stored);
  throw new HeyvmError("image_not_found", `there is no image ${reference}`, {
    hint: "heyvm images supported",
  });
}

/** One image, always there; nothing else exists. */
export function createTestImages(): ImageStore {
  return {
    async resolve(reference, { onStep, download }) {
      // Asked for by a pull.
      if (download !== undefined) {
        onStep?.({ id: "download", title: "Downloading", state: "progress", doneBytes: 1, totalBytes: 2 });
      }
      return await resolve(reference, onStep);
    },
    list: async () => await Promise.resolve([stored]),
    supported: async () =>
      await Promise.resolve([
        {
          name: image.reference,
          description: "test",
          publisher: "ubuntu",
          url: "http://nowhere/",
          path: image.path,
        },
      ]),
    add: async (name) => await Promise.resolve({ ...stored, name }),
    remove: async (name, { inUse, unknown }) => {
      if (name === image.reference && inUse.has(image.fingerprint)) {
        throw new ImageInUseError(name, image.path);
      }
      if (unknown !== undefined) throw unknown;
      return await Promise.resolve([`image ${name}`]);
    },
    prune: async ({ unknown }) => {
      if (unknown !== undefined) throw unknown;
      return await Promise.resolve([]);
    },
  };
}
