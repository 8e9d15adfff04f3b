/**
 * Mounts that a guest could turn into others. It makes real links in a folder that it may write to, and the host follows
 * them: in the place of a folder below, the next start would find any folder of the host's user.
 */
import { readlink } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";

import type { MachineMount } from "../backends/backend.ts";
import { HeyvmError } from "../errors/index.ts";

/** A mount that is, or could become, what a guest has put there. */
export class MountReplaceableError extends HeyvmError {
  constructor(path: string, reason: string, hint: string) {
    super("permission_denied", `cannot mount ${path}: ${reason}`, {
      details: { field: "mounts", path },
      hint,
    });
  }
}

/** The folders that a sandbox sees. */
export interface MountHolder {
  name: string;
  mounts: readonly MachineMount[];
}

/** As many as Linux follows in one path (path_resolution(7)). */
const mostLinks = 40;

/** Refuses a path on whose way a name is looked up in a folder that a guest may write to, links of links included. */
export async function checkWay(
  path: string,
  own: readonly MachineMount[],
  others: readonly MountHolder[],
): Promise<void> {
  const folders = await foldersOnTheWay(path);
  const isOnTheWay = ({ readOnly, hostPath }: MachineMount): boolean =>
    !readOnly && folders.some((folder) => isInside(folder, hostPath));
  const above = own.find(isOnTheWay);
  if (above !== undefined) {
    const reason = `this sandbox may write to ${above.hostPath}, and could put a link to any folder in its place`;
    throw new MountReplaceableError(path, reason, `mount ${above.hostPath} alone, or add :ro to it`);
  }
  for (const { name, mounts } of others) {
    const theirs = mounts.find(isOnTheWay);
    if (theirs !== undefined) throw replaceableBy(name, path, theirs);
  }
}

/** The same for two sandboxes by their mounts alone, whichever of them came first. */
export function checkMountsApart(mounts: readonly MachineMount[], others: readonly MountHolder[]): void {
  for (const mount of mounts) {
    for (const { name, mounts: theirs } of others) {
      const above = theirs.find((other) => mayReplace(other, mount));
      if (above !== undefined) throw replaceableBy(name, mount.hostPath, above);
      const below = theirs.find((other) => mayReplace(mount, other));
      if (below === undefined) continue;
      const reason = `sandbox ${JSON.stringify(name)} has ${below.hostPath}, and this one could put a link to any folder in its place`;
      throw new MountReplaceableError(mount.hostPath, reason, "mount it read-only: --mount HOST:GUEST:ro");
    }
  }
}

/** Whether a path is a folder or lies in it; both are absolute and without links. */
export function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function replaceableBy(name: string, path: string, { hostPath }: MachineMount): MountReplaceableError {
  const sandbox = JSON.stringify(name);
  const reason = `sandbox ${sandbox} may write to ${hostPath}, and could put a link to any folder in its place`;
  const hint = `mount ${hostPath} itself, or remove that sandbox: heyvm rm ${sandbox}`;
  return new MountReplaceableError(path, reason, hint);
}

function mayReplace(above: MachineMount, mount: MachineMount): boolean {
  return !above.readOnly && above.hostPath !== mount.hostPath && isInside(mount.hostPath, above.hostPath);
}

/** Every folder in which the kernel looks up a name when it follows this path. */
async function foldersOnTheWay(path: string): Promise<string[]> {
  const folders: string[] = [];
  const names = path.split("/");
  let at = "/";
  let links = 0;
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    if (name === "" || name === ".") continue;
    if (name === "..") {
      at = dirname(at);
      continue;
    }
    folders.push(at);
    const target = await linkTarget(join(at, name));
    if (target === undefined) {
      at = join(at, name);
      continue;
    }
    links += 1;
    if (links > mostLinks) break;
    if (isAbsolute(target)) at = "/";
    names.unshift(...target.split("/"));
  }
  return folders;
}

/** What cannot be looked at is no link: the folder that holds it is on the list. */
async function linkTarget(path: string): Promise<string | undefined> {
  return await readlink(path).catch(() => undefined);
}
