/** Looks at a file before it is used as an image. */
import { constants, type BigIntStats } from "node:fs";
import { open, stat } from "node:fs/promises";
import { dirname } from "node:path";

import { errnoOf, messageOf, shellQuoted } from "../../errors/index.ts";
import { recogniseDisk } from "./disk-signatures.ts";
import { ImageInvalidError, ImageNotFoundError } from "../errors.ts";
import { findQcow2Truncation, readQcow2Header } from "./qcow2.ts";

export interface InspectedFile {
  path: string;
  format: "qcow2" | "raw";
  sizeBytes: number;
  virtualSizeBytes: number;
  stamp: FileStamp;
}

/** Differs when a file was replaced or written to. */
export interface FileStamp {
  sizeBytes: number;
  modifiedNs: bigint;
  inode: bigint;
}

/** Throws `image_not_found` when there is none, and `image_invalid` with the reason when the file cannot, or must not, be used. */
export async function inspectImageFile(path: string): Promise<InspectedFile> {
  await using file = await openForReading(path);
  const stats = await file.stat({ bigint: true });
  if (!stats.isFile())
    throw new ImageInvalidError(path, stats.isDirectory() ? "it is a folder" : "it is no file");
  const sizeBytes = Number(stats.size);
  const kind = await recogniseDisk(file, sizeBytes);
  if ("reason" in kind) throw new ImageInvalidError(path, kind.reason);
  const inspected = { path, format: kind.format, sizeBytes, stamp: stampOf(stats) };
  if (kind.format === "raw") return { ...inspected, virtualSizeBytes: sizeBytes };
  const header = await readQcow2Header(file, sizeBytes);
  if ("reason" in header) throw new ImageInvalidError(path, header.reason);
  const reason = await findQcow2Truncation(file, header, sizeBytes);
  if (reason !== undefined) throw new ImageInvalidError(path, reason);
  return { ...inspected, virtualSizeBytes: header.virtualSizeBytes };
}

/** `undefined` when there is no such file, or none that we may know of. */
export async function stampOfFile(path: string): Promise<FileStamp | undefined> {
  try {
    return stampOf(await stat(path, { bigint: true }));
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(errnoOf(error) ?? "")) return undefined;
    throw new ImageInvalidError(path, `it can't be read: ${messageOf(error)}`, { cause: error });
  }
}

export function stampOf(stats: BigIntStats): FileStamp {
  return { sizeBytes: Number(stats.size), modifiedNs: stats.mtimeNs, inode: stats.ino };
}

/** Identity of a file whose bytes nobody has hashed. */
export function fingerprintOfStamp({ sizeBytes, modifiedNs, inode }: FileStamp): string {
  return `stat:${sizeBytes}-${modifiedNs}-${inode}`;
}

async function openForReading(path: string): Promise<Awaited<ReturnType<typeof open>>> {
  try {
    // Without O_NONBLOCK a FIFO would hold us until somebody writes to it.
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new ImageNotFoundError(path, "there is no such file", `ls -l ${shellQuoted(dirname(path))}`);
    }
    if (code === "EACCES" || code === "EPERM") {
      const hint = `let yourself read it, or copy it: chmod a+r ${shellQuoted(path)}`;
      throw new ImageInvalidError(path, "you may not read it", { cause: error, hint });
    }
    throw new ImageInvalidError(path, `it can't be opened: ${messageOf(error)}`, { cause: error });
  }
}
