/**
 * Disks that many machines stand on. libvirt cannot rename a volume, so a disk is made under a name of its own and
 * counts only when its marker, a small JSON volume whose creation fails if it exists, names it. Whoever dies before
 * that leaves a disk without a marker, which is rubbish that anyone may remove.
 */
import { z } from "zod";

import { parseJson } from "./domain-metadata.ts";
import type { Storage } from "./host.ts";
import { markerName, type SharedKind } from "./names.ts";

const marker = z.object({
  /** The finished disk's volume. */
  disk: z.string(),
  /** Fingerprint and name of the image that it is or stands on. */
  fingerprint: z.string(),
  reference: z.string(),
  createdAt: z.string(),
  /** The types whose runtimes work on it; of a prepared disk. */
  provides: z.array(z.string()).optional(),
});

export type SharedDisk = z.infer<typeof marker>;

const maxMarkerBytes = 65_536;

/** The finished disk for `key`, if there is one. */
export async function findSharedDisk(
  storage: Storage,
  kind: SharedKind,
  key: string,
  signal: AbortSignal,
): Promise<SharedDisk | undefined> {
  const content = await storage.read(markerName(kind, key), maxMarkerBytes, signal);
  if (content === undefined) return undefined;
  const parsed = marker.safeParse(parseJson(content.toString("utf8")));
  return parsed.success ? parsed.data : undefined;
}

/**
 * Makes `disk` the finished one for its key. When somebody else was faster theirs counts, ours is removed; the answer
 * is the one that counts.
 */
export async function publishSharedDisk(
  storage: Storage,
  kind: SharedKind,
  key: string,
  disk: SharedDisk,
  signal: AbortSignal,
): Promise<SharedDisk> {
  const name = markerName(kind, key);
  const content = Buffer.from(JSON.stringify(disk));
  const names = await storage.list(signal);
  if (names.includes(name)) {
    const winner = await findSharedDisk(storage, kind, key, signal);
    if (winner !== undefined && names.includes(winner.disk)) {
      await storage.remove(disk.disk, signal);
      return winner;
    }
    // Half written by somebody who died, or its disk is gone.
    await storage.remove(name, signal);
  }
  await storage.createFile(name, content.length, once(content), signal);
  return disk;
}

async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield content;
}
