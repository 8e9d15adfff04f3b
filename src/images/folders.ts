/** Looking for images in the search folders, by the names of their files. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { errnoOf } from "../errors/index.ts";
import { compareVersions, type FileNames } from "./catalogue/catalogue.ts";
import { type FileStamp, stampOfFile } from "./inspect/image-file.ts";

export interface FoundFile {
  path: string;
  stamp: FileStamp;
  /** The numbers in its name. */
  version: number[];
}

/** What fits in the first folder that has something, newest first. */
export async function findFirst(
  folders: readonly string[],
  names: FileNames,
): Promise<FoundFile | undefined> {
  for (const folder of folders) {
    const [newest] = await findAll(folder, names);
    if (newest !== undefined) return newest;
  }
  return undefined;
}

/** All that fits in one folder, newest first: by version, and then by the time of the file. */
export async function findAll(folder: string, { fileName, pattern }: FileNames): Promise<FoundFile[]> {
  // A folder that may be entered but not listed, as /var/lib/libvirt/images often is, still has the plain name.
  const names = new Set([...(await namesIn(folder)), ...(fileName === undefined ? [] : [fileName])]);
  const found: FoundFile[] = [];
  for (const name of names) {
    const match = pattern.exec(name);
    if (match === null) continue;
    const path = join(folder, name);
    const stamp = await stampOfFile(path);
    if (stamp !== undefined) found.push({ path, stamp, version: match.slice(1).map(Number) });
  }
  return found.toSorted(
    (left, right) =>
      compareVersions(right.version, left.version) ||
      Number(right.stamp.modifiedNs - left.stamp.modifiedNs) ||
      left.path.localeCompare(right.path),
  );
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(errnoOf(error) ?? "")) return [];
    throw error;
  }
}
