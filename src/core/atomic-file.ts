/** Changes to a folder that are there whole after a crash, or not at all. */
import { randomBytes } from "node:crypto";
import { link, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

import { DiskFullError, errnoOf, isDiskFull } from "../errors/index.ts";

/**
 * Replaces a file so that after a crash at any moment it has either its old content or all of the new. Mode 0600.
 * `what` is said when the disk is full.
 */
export async function writeFileAtomic(
  path: string,
  content: string,
  what = "saving a record",
): Promise<void> {
  await placeAtomic(path, content, what, rename);
}

/** As `writeFileAtomic`, unless the file exists: returns whether it was made. Of several at the same time, one makes it. */
export async function createFileAtomic(path: string, content: string, what: string): Promise<boolean> {
  try {
    await placeAtomic(path, content, what, async (beside) => {
      await link(beside, path);
      await rm(beside);
    });
    return true;
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw error;
  }
}

async function placeAtomic(
  path: string,
  content: string,
  what: string,
  place: (beside: string, path: string) => Promise<void>,
): Promise<void> {
  const beside = `${path}.${process.pid}-${randomBytes(4).toString("hex")}.tmp`;
  try {
    const file = await open(beside, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await place(beside, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(beside, { force: true });
    if (isDiskFull(error)) throw new DiskFullError(what, path, error);
    throw error;
  }
}

/** Makes what was created, renamed or removed in a folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
