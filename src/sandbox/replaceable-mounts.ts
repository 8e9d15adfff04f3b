/**
 * Mounts that a guest could turn into others. It makes real links in a folder that it may write to, and the host follows
 * them: in the place of a folder below, the next start would find any folder of the host's user.
 */
import { readlink } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";

import type { MachineMount } from "../backends/backend.ts";
import { HeyvmError, shellQuoted } from "../errors/index.ts";
import { folderIdentity } from "./folder-identity.ts";

/** A mount that is, or could become, what a guest has put there. */
export class MountReplaceableError extends HeyvmError {
  constructor({ field, path }: Pick<AskedMount, "field" | "path">, reason: string, hint: string) {
    super("permission_denied", `cannot mount ${path}: ${reason}`, { details: { field, path }, hint });
  }
}

/** A mount as it was asked for. */
export interface AskedMount {
  /** Its field of the request. */
  field: string;
  /** Absolute, maybe with links on its way. */
  path: string;
  /** Where that led a moment ago. */
  resolved: string;
}

/** A mount of a sandbox that there is. */
export interface HeldMount extends MachineMount {
  /** `folderIdentity` of what its machine has open, whatever the name of that is by now; absent while it is off. */
  folder?: string | undefined;
}

/** The folders that a sandbox sees. */
export interface MountHolder {
  name: string;
  mounts: readonly HeldMount[];
}

/** As many as Linux follows in one path (path_resolution(7)). */
const mostLinks = 40;

/**
 * Refuses a mount on whose way a name is looked up in a folder that a guest may write to, links of links included. The
 * folder of a sandbox that runs counts under all its names. `others` is asked after the way was walked: whoever made a
 * link until then is among them.
 */
export async function checkWay(
  mount: AskedMount,
  own: readonly HeldMount[],
  others: () => readonly MountHolder[],
): Promise<void> {
  const found = await findLinkable(mount.path, () => [{ name: undefined, mounts: own }, ...others()]);
  if (found !== undefined) throw linkable(mount, found.name, found);
}

/** A folder on a way where links may be put, and the name by which it is mounted there: mostly the same. */
export interface LinkablePlace {
  through: string;
  above: string;
}

/**
 * Who may put a link on this way, and where. `holders` is asked after the way was walked. Nothing but the way is looked at:
 * another one's mount may be on a file system that does not answer.
 */
export async function findLinkable<Name extends string | undefined>(
  path: string,
  holders: () => readonly { name: Name; mounts: readonly HeldMount[] }[],
): Promise<(LinkablePlace & { name: Name }) | undefined> {
  const way = await walk(path);
  for (const { name, mounts } of holders()) {
    for (const mount of mounts) {
      const through = mount.readOnly ? undefined : placeOf(mount, way);
      if (through !== undefined) return { name, through, above: mount.hostPath };
    }
  }
  return undefined;
}

/** The same for two sandboxes by their mounts' names alone, at once, whichever of them came first. */
export function checkMountsApart(mounts: readonly MachineMount[], others: readonly MountHolder[]): void {
  for (const [index, mount] of mounts.entries()) {
    const field = mountField(index);
    const path = mount.hostPath;
    for (const { name, mounts: theirs } of others) {
      const above = theirs.find((other) => mayReplace(other, mount));
      if (above !== undefined)
        throw linkable({ field, path, resolved: path }, name, {
          through: above.hostPath,
          above: above.hostPath,
        });
      const below = theirs.find((other) => mayReplace(mount, other));
      if (below !== undefined) throw replacing(field, path, name, below.hostPath);
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

/** Why not, in words. */
export function linkableReason({ through, above }: LinkablePlace, writer: string): string {
  const alias = through === above ? "" : `, mounted as ${above}`;
  return `its way leads through ${through}${alias}, where ${writer} may put links`;
}

/** `name` is that of the sandbox that may write; without one it is the same. */
function linkable(mount: AskedMount, name: string | undefined, place: LinkablePlace): MountReplaceableError {
  const { through } = place;
  const reason = linkableReason(
    place,
    name === undefined ? "this sandbox" : `sandbox ${JSON.stringify(name)}`,
  );
  if (!isInside(mount.resolved, through)) {
    const hint = `it leads to ${mount.resolved} now: if you mean that, mount it by this name`;
    return new MountReplaceableError(mount, reason, hint);
  }
  const hint =
    name === undefined
      ? `mount ${through} alone, or read-only: --mount ${shellQuoted(through)}:GUEST:ro`
      : `mount ${through} itself, or remove that sandbox: heyvm rm ${JSON.stringify(name)}`;
  return new MountReplaceableError(mount, reason, hint);
}

function replacing(field: string, path: string, name: string, below: string): MountReplaceableError {
  const reason = `sandbox ${JSON.stringify(name)} has ${below} below it, and this one could put a link in its place`;
  const remedy = `--mount ${shellQuoted(path)}:GUEST:ro`;
  const hint = `mount it read-only, ${remedy}, or remove that sandbox: heyvm rm ${JSON.stringify(name)}`;
  return new MountReplaceableError({ field, path }, reason, hint);
}

function mayReplace(above: MachineMount, mount: MachineMount): boolean {
  return !above.readOnly && above.hostPath !== mount.hostPath && isInside(mount.hostPath, above.hostPath);
}

/** Where a way leads through this folder, by its name or by another one: renamed while it is mounted, or mounted twice. */
function placeOf({ hostPath, folder }: HeldMount, way: Way): string | undefined {
  if (way.has(hostPath)) return hostPath;
  if (folder === undefined) return undefined;
  for (const [path, identity] of way) if (identity === folder) return path;
  return undefined;
}

/** Folders in which names are looked up, each with its identity. */
type Way = ReadonlyMap<string, string | undefined>;

/** Every folder in which the kernel looks up a name when it follows this path. */
async function walk(path: string): Promise<Way> {
  const paths = new Set<string>();
  const names = path.split("/");
  let at = "/";
  let links = 0;
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    if (name === "" || name === ".") continue;
    if (name === "..") {
      at = dirname(at);
      continue;
    }
    paths.add(at);
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
  return new Map(
    await Promise.all([...paths].map(async (path) => [path, await folderIdentity(path)] as const)),
  );
}

/** What cannot be looked at is no link: the folder that holds it is on the list. */
async function linkTarget(path: string): Promise<string | undefined> {
  return await readlink(path).catch(() => undefined);
}
