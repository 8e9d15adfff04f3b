/** A template's files in the storage pool: four volumes and the marker that makes them count. */
import { createHash } from "node:crypto";
import { open, readFile, stat } from "node:fs/promises";

import { errnoOf } from "../../../errors/index.ts";
import type { Storage } from "../host.ts";
import { markerName, parseSharedName, sharedDiskName } from "../names.ts";
import {
  type FileStamp,
  findSharedDisk,
  type SharedDisk,
  type TemplateDetails,
} from "../storage/shared-disk.ts";

/** A finished template. */
export interface Template {
  key: string;
  build: string;
  files: TemplateFiles;
  marker: SharedDisk & { template: TemplateDetails };
}

/** Volumes. */
export interface TemplateFiles {
  /** The guest's disk as it was when the machine was frozen. */
  disk: string;
  /** The guest's memory. */
  ram: string;
  /** The state of the machine's devices, beginning with its own SHA-256. */
  state: string;
  /** An empty overlay on the disk, to be copied. */
  blank: string;
}

export function templateFiles(key: string, build: string): TemplateFiles {
  return {
    disk: sharedDiskName("template", key, build),
    ram: sharedDiskName("template", key, build, "ram"),
    state: sharedDiskName("template", key, build, "state"),
    blank: sharedDiskName("template", key, build, "blank"),
  };
}

/** The finished template of a key, if there is one. Its files may have been touched since: see `damageOf`. */
export async function findTemplate(
  storage: Pick<Storage, "read">,
  key: string,
  signal: AbortSignal,
): Promise<Template | undefined> {
  const marker = await findSharedDisk(storage, "template", key, signal);
  const build = marker === undefined ? undefined : parseSharedName(marker.disk)?.build;
  if (marker?.template === undefined || build === undefined) return undefined;
  return { key, build, files: templateFiles(key, build), marker: { ...marker, template: marker.template } };
}

/** What is wrong with a template's files, in words; `undefined` when they are as they were when it was finished. */
export async function damageOf(storage: Storage, { files, marker }: Template): Promise<string | undefined> {
  const { stamps } = marker.template;
  const looks = await Promise.all(
    (["disk", "ram", "state", "blank"] as const).map(async (part) => {
      const now = await stampOf(storage.path(files[part]));
      if (now === undefined) return `${files[part]} is missing`;
      const same = JSON.stringify(now) === JSON.stringify(stamps[part]);
      return same ? undefined : `${files[part]} was changed`;
    }),
  );
  return looks.find((damage) => damage !== undefined);
}

/** The four files as they are now, all of them safe on the disk. */
export async function stampTemplate(
  storage: Pick<Storage, "path">,
  files: TemplateFiles,
): Promise<TemplateDetails["stamps"]> {
  const stamp = async (volume: string): Promise<FileStamp> => {
    const path = storage.path(volume);
    await using file = await open(path, "r");
    await file.sync();
    const found = await stampOf(path);
    if (found === undefined) throw new Error(`${path} has gone`);
    return found;
  };
  const [disk, ram, state, blank] = await Promise.all([
    stamp(files.disk),
    stamp(files.ram),
    stamp(files.state),
    stamp(files.blank),
  ]);
  return { disk, ram, state, blank };
}

/** Changes with every write, also one that is undone or that puts the time back. */
async function stampOf(path: string): Promise<FileStamp | undefined> {
  try {
    const { size, ino, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return {
      sizeBytes: Number(size),
      inode: ino.toString(),
      modified: mtimeNs.toString(),
      changed: ctimeNs.toString(),
    };
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

const digestBytes = 32;

/** The state with its digest before it. */
export function sealState(state: Buffer): Buffer {
  return Buffer.concat([createHash("sha256").update(state).digest(), state]);
}

/** The state out of its file; `undefined` when it is not what was sealed. */
export async function loadState(path: string): Promise<Buffer | undefined> {
  const sealed = await readFile(path).catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return Buffer.alloc(0);
    throw error;
  });
  const state = sealed.subarray(digestBytes);
  const digest = createHash("sha256").update(state).digest();
  return digest.equals(sealed.subarray(0, digestBytes)) ? state : undefined;
}

/** Removes a template: first the marker, if it still is this template's, then the files, unless `isUsed`. */
export async function removeTemplate(
  storage: Storage,
  { key, build, files }: Template,
  signal: AbortSignal,
  isUsed: () => Promise<boolean>,
): Promise<void> {
  if (await isPublished(storage, { key, build }, signal)) {
    await storage.remove(markerName("template", key), signal);
  }
  if (!(await isUsed())) await removeTemplateFiles(storage, files, signal);
}

/** Whether this is the template of its key: not another that was made since, and not removed. */
export async function isPublished(
  storage: Storage,
  { key, build }: Pick<Template, "key" | "build">,
  signal: AbortSignal,
): Promise<boolean> {
  return (await findTemplate(storage, key, signal))?.build === build;
}

export async function removeTemplateFiles(
  storage: Storage,
  files: TemplateFiles,
  signal: AbortSignal,
): Promise<void> {
  for (const volume of [files.blank, files.state, files.ram, files.disk]) {
    await storage.remove(volume, signal);
  }
}
