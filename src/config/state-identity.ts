/**
 * Whose machines are whose: a random id in the state folder, made once. Names do not do for this: a host is renamed, a
 * container that is made again with the same volume has another name, and two hosts may have the same.
 *
 * A copy of the folder has the same id, and must not take the original's machines for its own leftovers. So the file also
 * tells where the folder was. When it is somewhere else now and a folder with this id is still in the old place, this
 * one is the copy and gets a new id; else it was moved. Inodes and machine ids are not asked: both change when a folder
 * is restored, moved to another disk or mounted into a new container, which has to work. What cannot be told from a move
 * is a copy whose original is out of sight, on another host or in another container: such two must not use one libvirt.
 */
import { randomUUID } from "node:crypto";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { z } from "zod";

import { timeoutSignal } from "../core/deadline.ts";
import { errnoOf, HeyvmError, messageOf, shellQuoted } from "../errors/index.ts";
import { createFileAtomic, writeFileAtomic } from "../core/atomic-file.ts";
import { statePaths } from "./paths.ts";
import { lockForProcess } from "../core/process-lock.ts";
import { ensureStateFolder } from "./state-folder.ts";

export interface StateIdentity {
  /** A random UUID. */
  id: string;
  /** `HOSTNAME:FOLDER`: how versions without an id marked the machines of this folder; absent where there were none. */
  formerOwner?: string | undefined;
}

/** The file cannot be read or written. */
export class StateIdentityUnusableError extends HeyvmError {
  constructor(path: string, cause: unknown) {
    super(
      "permission_denied",
      `${path}, which tells whose machines are whose, cannot be used: ${messageOf(cause)}`,
      {
        cause,
        hint: `make it a file that you may read and write: ls -ld ${shellQuoted(path)}`,
        details: { path },
      },
    );
  }
}

/** Somebody has changed the file, or a disk has. */
export class StateIdentityDamagedError extends HeyvmError {
  constructor(path: string, cause?: unknown) {
    super("wrong_state", `${path}, which tells whose machines are whose, is damaged`, {
      cause,
      hint: `restore it from a backup; or give up the machines that were made so far: rm ${shellQuoted(path)}`,
      details: { path },
    });
  }
}

/** Whether the folder was moved or copied cannot be found out, and it would be wrong to guess. */
export class StateFolderOriginError extends HeyvmError {
  constructor(path: string, { folder, before }: { folder: string; before: string }, cause: unknown) {
    super(
      "permission_denied",
      `the state folder was at ${before} before, and whether another one is there now cannot be seen: ${messageOf(cause)}`,
      {
        cause,
        hint: `if ${shellQuoted(folder)} was moved: put its path for "folder" into ${shellQuoted(path)}; if it is a copy: rm ${shellQuoted(path)}`,
        details: { path, folder, before },
      },
    );
  }
}

const identitySchema = z.object({
  id: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
  /** Where the folder was when it was last used. */
  folder: z.string(),
  former_owner: z.string().optional(),
});

type StoredIdentity = z.infer<typeof identitySchema>;

const lockTimeoutMs = 30_000;
const what = "saving the state folder's id";

/** The id of the state folder `root`; made, with the folder, at the first use. */
export async function openStateIdentity(root: string, hostName = hostname()): Promise<StateIdentity> {
  const path = statePaths(root).identity;
  await ensureStateFolder(root);
  try {
    const { id, former_owner: formerOwner } = await openStored(root, path, hostName);
    return { id, formerOwner };
  } catch (error) {
    throw error instanceof HeyvmError ? error : new StateIdentityUnusableError(path, error);
  }
}

async function openStored(root: string, path: string, hostName: string): Promise<StoredIdentity> {
  const folder = await realpath(root);
  const stored = (await read(path)) ?? (await make(root, path, { folder, hostName }));
  return stored.folder === folder ? stored : await settleIn(root, path, folder);
}

async function make(
  root: string,
  path: string,
  { folder, hostName }: { folder: string; hostName: string },
): Promise<StoredIdentity> {
  // A folder without sandboxes lays no claim to another's machines that were marked with the same two names.
  const hadSandboxes = (await readdir(statePaths(root).sandboxes).catch(noneIfMissing)).length > 0;
  const made: StoredIdentity = {
    id: randomUUID(),
    folder,
    former_owner: hadSandboxes ? `${hostName}:${root}` : undefined,
  };
  if (await createFileAtomic(path, contentOf(made), what)) return made;
  const theirs = await read(path);
  if (theirs === undefined) throw new StateIdentityDamagedError(path);
  return theirs;
}

/** The folder is not where it was: the first process to see it decides. */
async function settleIn(root: string, path: string, folder: string): Promise<StoredIdentity> {
  const signal = timeoutSignal(lockTimeoutMs);
  const { lock } = await lockForProcess({ folder: root, name: "identity", what, signal });
  try {
    const stored = await read(path);
    if (stored === undefined) throw new StateIdentityDamagedError(path);
    if (stored.folder === folder) return stored;
    const settled = (await isCopy(stored, folder, path))
      ? { id: randomUUID(), folder }
      : { ...stored, folder };
    await writeFileAtomic(path, contentOf(settled), what);
    return settled;
  } finally {
    await lock[Symbol.asyncDispose]();
  }
}

/** Whether the original is still there. One that took a copy for the original would remove the other's machines. */
async function isCopy(stored: StoredIdentity, folder: string, path: string): Promise<boolean> {
  try {
    const there = await read(statePaths(stored.folder).identity);
    if (there?.id !== stored.id) return false;
    // One folder may be mounted in two places.
    const [one, other] = await Promise.all(
      [folder, stored.folder].map((place) => stat(place, { bigint: true })),
    );
    return one?.dev !== other?.dev || one?.ino !== other?.ino;
  } catch (error) {
    throw new StateFolderOriginError(path, { folder, before: stored.folder }, error);
  }
}

/** `undefined` when there is none. */
async function read(path: string): Promise<StoredIdentity | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  }
  try {
    return identitySchema.parse(JSON.parse(text));
  } catch (error) {
    throw new StateIdentityDamagedError(path, error);
  }
}

function contentOf(identity: StoredIdentity): string {
  return `${JSON.stringify(identity, undefined, 2)}\n`;
}

function noneIfMissing(error: unknown): string[] {
  if (errnoOf(error) === "ENOENT") return [];
  throw error;
}
