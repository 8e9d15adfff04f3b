/** What the store has to remember: where downloads came from, and names that the user gave. */
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";

import { z } from "zod";

import { writeFileAtomic } from "../core/atomic-file.ts";
import { lockForProcess } from "../core/process-lock.ts";
import { errnoOf } from "../errors/index.ts";
import { ImageIndexDamagedError } from "./errors.ts";
import { architectures } from "./image.ts";
import type { FileStamp } from "./inspect/image-file.ts";

const architectureSchema = z.enum(architectures);

const fileRecordSchema = z.object({
  path: z.string(),
  /** Size, modification time in ns, and inode when it was hashed: it is the same file as long as they are the same. */
  stamp: z.string(),
  /** `sha256:…` or `sha512:…` of its bytes. */
  digest: z.string(),
  /** The digest was compared with one from the publisher or the user. */
  verified: z.boolean(),
  /** Present for what the store downloaded. */
  download: z.object({ reference: z.string(), url: z.string(), fetchedAt: z.string() }).optional(),
  /** Present for a copy of a file that others may change: which file, and its stamp when it was copied. */
  copyOf: z.object({ path: z.string(), stamp: z.string() }).optional(),
  architecture: architectureSchema,
});

const nameRecordSchema = z.object({
  name: z.string(),
  /** An absolute path, or a URL. */
  source: z.string(),
  checksum: z.string().optional(),
  architecture: architectureSchema,
});

const indexSchema = z.object({
  version: z.literal(1),
  files: z.array(fileRecordSchema),
  names: z.array(nameRecordSchema),
});

export type FileRecord = z.infer<typeof fileRecordSchema>;
export type NameRecord = z.infer<typeof nameRecordSchema>;
export type ImageIndex = z.infer<typeof indexSchema>;

export interface IndexFile {
  read(): Promise<ImageIndex>;
  /** Reads, changes and writes while no other process does. */
  change(signal: AbortSignal, edit: (index: ImageIndex) => void): Promise<void>;
}

export function openIndex(path: string): IndexFile {
  const read = async (): Promise<ImageIndex> => {
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return { version: 1, files: [], names: [] };
      throw error;
    }
    try {
      return indexSchema.parse(JSON.parse(text));
    } catch (error) {
      throw new ImageIndexDamagedError(path, error);
    }
  };
  return {
    read,
    async change(signal, edit) {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      const { lock } = await lockForProcess({
        folder: dirname(path),
        name: path,
        what: "the change of the image index",
        signal,
      });
      try {
        const index = await read();
        edit(index);
        await writeFileAtomic(path, `${JSON.stringify(index, undefined, 2)}\n`, "saving the image index");
      } finally {
        await lock[Symbol.asyncDispose]();
      }
    },
  };
}

/** The record of a file, if the file is still the one that was recorded. */
export function recordOf(index: ImageIndex, path: string, stamp: FileStamp): FileRecord | undefined {
  return index.files.find((record) => record.path === path && record.stamp === stampText(stamp));
}

/** Whether heyvm made the file, and so may remove it. */
export function isOurs({ download, copyOf }: FileRecord): boolean {
  return download !== undefined || copyOf !== undefined;
}

/** In place of an older record of the same path. */
export function putRecord(index: ImageIndex, record: FileRecord): void {
  index.files = [...index.files.filter(({ path }) => path !== record.path), record];
}

export function dropRecord(index: ImageIndex, path: string): void {
  index.files = index.files.filter((record) => record.path !== path);
}

export function stampText({ sizeBytes, modifiedNs, inode }: FileStamp): string {
  return `${sizeBytes}-${modifiedNs}-${inode}`;
}
