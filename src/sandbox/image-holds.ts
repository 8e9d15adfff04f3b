/**
 * Between finding an image and having something that visibly stands on it lies time, in which its file must not be
 * removed: a sandbox's record is yet to be written, a template's disk is yet to be prepared.
 */
import { createLock } from "../core/lock.ts";
import type { WorkContext } from "../core/step.ts";
import type { Image, ImageStore } from "../images/index.ts";

/** Disposed as soon as something stands on the image. */
export interface HeldImage extends Disposable {
  image: Image;
}

export interface ImageHolds {
  /** The image that a reference stands for, which nobody can remove until it is disposed. */
  take(reference: string, context: WorkContext): Promise<HeldImage>;
  /** Runs a removal, while none is taken. `work` gets the fingerprints of those that are taken already. */
  whileRemoving<T>(signal: AbortSignal, work: (held: readonly string[]) => Promise<T>): Promise<T>;
}

export function createImageHolds(images: Pick<ImageStore, "resolve">): ImageHolds {
  const lock = createLock();
  const held = new Set<HeldImage>();
  let removals = 0;
  return {
    async take(reference, context) {
      for (;;) {
        const before = removals;
        // It may be a download: not for a removal to wait for.
        const image = await images.resolve(reference, context);
        const taken = await lock.run(
          "taking the image",
          async () => await Promise.resolve(removals === before ? hold(held, image) : undefined),
          context.signal,
        );
        // It may be what was removed meanwhile.
        if (taken !== undefined) return taken;
      }
    },
    whileRemoving: async (signal, work) =>
      await lock.run(
        "removing images",
        async () => {
          try {
            return await work([...held].map(({ image }) => image.fingerprint));
          } finally {
            removals += 1;
          }
        },
        signal,
      ),
  };
}

function hold(held: Set<HeldImage>, image: Image): HeldImage {
  const taken = { image, [Symbol.dispose]: () => void held.delete(taken) };
  held.add(taken);
  return taken;
}
