/** Where QEMU finds an image: where it lies if QEMU may read it there, else as a copy in the pool. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";

import { timeoutSignal } from "../../../core/deadline.ts";
import type { WorkContext } from "../../../core/step.ts";
import type { Image } from "../../../images/image.ts";
import { blockedAt } from "../storage/file-access.ts";
import type { Backing, LibvirtHost } from "../host.ts";
import { newBuild, sharedDiskName, shortHash } from "../names.ts";
import { findSharedDisk, publishSharedDisk } from "../storage/shared-disk.ts";

/** The file to put a disk on. Copies the image into the pool when there is no other way. */
export async function ensureImageSource(
  host: LibvirtHost,
  image: Image,
  context: WorkContext,
): Promise<Backing> {
  if (await isReadable(host, image, context.signal)) return { path: image.path, format: image.format };
  const storage = await host.storage(context.signal);
  const key = shortHash(image.fingerprint);
  const existing = await findSharedDisk(storage, "image", key, context.signal);
  const disk = existing?.disk ?? (await upload(host, image, key, context));
  return { path: storage.path(disk), format: image.format };
}

async function isReadable(host: LibvirtHost, image: Image, signal: AbortSignal): Promise<boolean> {
  if (!host.isLocal) return false;
  const { qemuAccount } = await host.capabilities(signal);
  return qemuAccount === undefined || (await blockedAt(image.path, qemuAccount)) === undefined;
}

async function upload(host: LibvirtHost, image: Image, key: string, context: WorkContext): Promise<string> {
  const { signal, onStep } = context;
  const storage = await host.storage(signal);
  const disk = sharedDiskName("image", key, newBuild(), image.format);
  const { size: totalBytes } = await stat(image.path);
  const step = {
    id: "image-copy",
    title: `Copying ${image.reference} to where QEMU can read it (once)`,
    totalBytes,
  };
  onStep({ ...step, state: "started" });
  async function* content(): AsyncGenerator<Uint8Array> {
    let doneBytes = 0;
    for await (const chunk of createReadStream(image.path, { highWaterMark: 256 * 1024 })) {
      // A file stream without an encoding yields buffers.
      if (!(chunk instanceof Uint8Array)) continue;
      yield chunk;
      doneBytes += chunk.length;
      onStep({ ...step, state: "progress", doneBytes });
    }
  }
  try {
    await storage.createFile(disk, totalBytes, content(), signal);
    const { fingerprint, reference } = image;
    const createdAt = new Date().toISOString();
    const published = await publishSharedDisk(
      storage,
      "image",
      key,
      { disk, fingerprint, reference, createdAt },
      signal,
    );
    onStep({ ...step, state: "done", doneBytes: totalBytes });
    return published.disk;
  } catch (error) {
    await storage.remove(disk, timeoutSignal(30_000)).catch(() => undefined);
    throw error;
  }
}
