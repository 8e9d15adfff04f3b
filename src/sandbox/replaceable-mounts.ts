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
  constructor(field: string, path: string, reason: string, hint: string) {
    super("permission_denied", `cannot mount ${path}: ${reason}`, { details: { field, path }, hint });
  }
}

/** The folders that a sandbox sees. */
export interface MountHolder {
  name: string;
  mounts: readonly MachineMount[];
}

/** As many as Linux follows in one path (path_resolution(7)). */
const mostLinks = 40;

/**
 * Refuses a path on whose way a name is looked up in a folder that a guest may write to, links of links included.
 * `resolved` is where it led a moment ago, before `others` is asked: whoever made a link until then is among them.
 */
export async function checkWay(
  field: string,
  path: string,
  resolved: string,
  own: readonly MachineMount[],
  others: () => readonly MountHolder[],
): Promise<void> {
  const folders = await foldersOnTheWay(path);
  const writable = [{ name: undefined, mounts: own }, ...others()];
  for (const { name, mounts } of writable) {
    for (const { readOnly, hostPath } of mounts) {
      if (readOnly || !folders.some((folder) => isInside(folder, hostPath))) continue;
      throw linkable(field, path, resolved, name, hostPath);
    }
  }
}

/** The same for two sandboxes by their mounts alone, whichever of them came first. */
export function checkMountsApart(mounts: readonly MachineMount[], others: readonly MountHolder[]): void {
  for (const [index, mount] of mounts.entries()) {
    const field = mountField(index);
    const path = mount.hostPath;
    for (const { name, mounts: theirs } of others) {
      const above = theirs.find((other) => mayReplace(other, mount));
      if (above !== undefined) throw linkable(field, path, path, name, above.hostPath);
      const below = theirs.find((other) => mayReplace(mount, other));
      if (below === undefined) continue;
      const reason = `sandbox ${JSON.stringify(name)} has ${below.hostPath} below it, and this one could put a link in its place`;
      const hint = `mount it read-only, --mount ${path}:GUEST:ro, or remove that sandbox: heyvm rm ${JSON.stringify(name)}`;
      throw new MountReplaceableError(field, path, reason, hint);
    }
  }
}

/** The field of a request that names a mount's folder. */
export function mountField(index: number): string {
  return `mounts[${index}].host_path`;
}

/** Whether a path is a folder or lies in it; both are absolute and without links. */
export function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

/** `name` is that of the sandbox that may write; without one it is the same. */
function linkable(
  field: string,
  path: string,
  resolved: string,
  name: string | undefined,
  above: string,
): MountReplaceableError {
  const writer = name === undefined ? "this sandbox" : `sandbox ${JSON.stringify(name)}`;
  const reason = `its way leads through ${above}, where ${writer} may put links`;
  if (!isInside(resolved, above)) {
    const hint = `it leads to ${resolved} now: if you mean that, mount it by this name`;
    return new MountReplaceableError(field, path, reason, hint);
  }
  const hint =
    name === undefined
      ? `mount ${above} alone, or read-only: --mount ${above}:GUEST:ro`
      : `mount ${above} itself, or remove that sandbox: heyvm rm ${JSON.stringify(name)}`;
  return new MountReplaceableError(field, path, reason, hint);
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
