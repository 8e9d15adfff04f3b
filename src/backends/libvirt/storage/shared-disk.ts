/**
 * Disks that many machines stand on. libvirt cannot rename a volume, so a disk is made under a name of its own and
 * counts only when its marker, a small JSON volume whose creation fails if it exists, names it. Whoever dies before
 * that leaves a disk without a marker, which is rubbish that anyone may remove.
 */
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";

import { sandboxTypes } from "../../../config/machine-kinds.ts";
import { parseJson } from "../domain/domain-metadata.ts";
import type { Storage } from "../host.ts";
import { markerName, type SharedKind } from "../names.ts";

/** A file as it was when it was finished. Whoever changes it changes one of these. */
const stampSchema = z.object({
  sizeBytes: z.number(),
  inode: z.string(),
  /** Nanoseconds. */
  modified: z.string(),
  changed: z.string(),
});

const templateSchema = z.object({
  type: z.enum(sandboxTypes),
  accelerator: z.enum(["kvm", "tcg"]),
  vcpus: z.number(),
  memoryBytes: z.number(),
  /** How large its clones can become. */
  room: z.object({ vcpus: z.number(), memoryBytes: z.number() }).optional(),
  /** The prepared disk that it was booted from. */
  preparedDisk: z.string(),
  stamps: z.object({ disk: stampSchema, ram: stampSchema, state: stampSchema, blank: stampSchema }),
});

const marker = z.object({
  /** The finished disk's volume. */
  disk: z.string(),
  /** Fingerprint and name of the image that it is or stands on. */
  fingerprint: z.string(),
  reference: z.string(),
  createdAt: z.string(),
  /** The types whose runtimes work on it; of a prepared disk. */
  provides: z.array(z.string()).optional(),
  template: templateSchema.optional(),
});

export type SharedDisk = z.infer<typeof marker>;
export type TemplateDetails = z.infer<typeof templateSchema>;
export type FileStamp = z.infer<typeof stampSchema>;

const maxMarkerBytes = 65_536;

/** The finished disk for `key`, if there is one. */
export async function findSharedDisk(
  storage: Pick<Storage, "read">,
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
  for (let attempt = 1; ; attempt += 1) {
    const winner = await findWinner(storage, kind, key, signal);
    if (winner !== undefined) {
      await storage.remove(disk.disk, signal);
      return winner;
    }
    // Half written by somebody who died, or its disk is gone.
    await storage.remove(name, signal);
    try {
      await storage.createFile(name, content.length, once(content), signal);
      return disk;
    } catch (error) {
      // Somebody finished at the same moment.
      if (attempt === 3 || !(await storage.has(name, signal))) throw error;
    }
  }
}

const writingMs = 500;

async function findWinner(
  storage: Storage,
  kind: SharedKind,
  key: string,
  signal: AbortSignal,
): Promise<SharedDisk | undefined> {
  const names = await storage.list(signal);
  if (!names.includes(markerName(kind, key))) return undefined;
  let winner = await findSharedDisk(storage, kind, key, signal);
  if (winner === undefined) {
    // A marker that is being written comes into being empty; libvirt has no event for its end.
    await delay(writingMs, undefined, { signal });
    winner = await findSharedDisk(storage, kind, key, signal);
  }
  return winner !== undefined && (await storage.has(winner.disk, signal)) ? winner : undefined;
}

async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield content;
}
