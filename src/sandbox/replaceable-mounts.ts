/**
 * Mounts that a guest could turn into others. It makes real links in a folder that it may write to, and the host follows
 * them: in the place of a folder below, the next start would find any folder of the host's user.
 */
import { readlink } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";

import type { MachineMount } from "../backends/backend.ts";
import { HeyvmError, shellQuoted } from "../errors/index.ts";
import { folderIdentities, promptIdentities } from "./folder-identity.ts";
import { foldersAbove, type MountTable, readMountTable } from "./mount-table.ts";

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
export interface HeldMount extends Pick<MachineMount, "hostPath" | "readOnly"> {
  /** `folderIdentity` of what its machine has open, whatever the name of that is by now; absent while it is off. */
  folder?: string | undefined;
}

/** The folders that a sandbox sees. */
export interface MountHolder {
  name: string;
  mounts: readonly HeldMount[];
  /** Another state folder has its record. */
  isElsewhere?: boolean | undefined;
  /** What takes its folders from it, in words, when it is not a sandbox like others: its record is not at hand. */
  remedy?: string | undefined;
}

/** Who sees folders at the moment. */
export type AskHolders = () => Promise<readonly MountHolder[]> | readonly MountHolder[];

/** As many as Linux follows in one path (path_resolution(7)). */
const mostLinks = 40;

/**
 * Refuses mounts on whose ways a name is looked up in a folder that a guest may write to, links of links included, and by
 * whatever name it is mounted. The folder of a sandbox that runs counts also when it was renamed. `others` is asked once,
 * after all ways were walked: whoever made a link until then is among them.
 */
export async function checkWays(
  mounts: readonly AskedMount[],
  own: readonly HeldMount[],
  others: AskHolders,
): Promise<void> {
  const self = { name: "", mounts: own };
  const found = await findLinkable(mounts, async () => [self, ...(await others())]);
  if (found === undefined) return;
  throw linkable(found.mount, found.holder === self ? undefined : found.holder, found);
}

/** A folder on a way where links may be put, and the name of the mount by which they may: mostly the same. */
export interface LinkablePlace {
  through: string;
  above: string;
}

/**
 * Who may put a link on the way to one of these, and where. `holders` is asked once, after the ways were walked. Other ones'
 * mounts are not looked at, and other names of the ways' folders not for long: a file system there may not answer.
 */
export async function findLinkable<M extends Pick<AskedMount, "path">>(
  mounts: readonly M[],
  holders: AskHolders,
): Promise<(LinkablePlace & { mount: M; holder: MountHolder }) | undefined> {
  if (mounts.length === 0) return undefined;
  const walked = await Promise.all(mounts.map(async (mount) => ({ mount, folders: await walk(mount.path) })));
  const table = readMountTable();
  const ways = walked.map(({ mount, folders }) => ({ mount, way: wayThrough(folders, table) }));
  const identities = await identitiesOn(ways.flatMap(({ way }) => way));
  const held = (await holders()).flatMap((holder) => holder.mounts.map((other) => ({ holder, other })));
  for (const { mount, way } of ways) {
    for (const { holder, other } of held) {
      const place = placeOf(other, way, identities);
      if (place !== undefined) return { mount, holder, ...place };
    }
  }
  return undefined;
}

/** The same for two sandboxes by their mounts' names alone, at once, whichever of them came first. */
export function checkMountsApart(
  mounts: readonly MachineMount[],
  others: readonly MountHolder[],
  table: MountTable = readMountTable(),
): void {
  const wayTo = (mount: HeldMount): Way => wayThrough(foldersAbove(mount.hostPath), table);
  for (const [index, mount] of mounts.entries()) {
    const field = mountField(index);
    const path = mount.hostPath;
    const way = wayTo(mount);
    for (const holder of others) {
      for (const other of holder.mounts) {
        const place = placeOf(other, way);
        if (place !== undefined) throw linkable({ field, path, resolved: path }, holder, place);
      }
      if (mount.readOnly) continue;
      const below = holder.mounts.find((other) => placeOf(mount, wayTo(other)) !== undefined);
      if (below !== undefined) throw replacing(field, path, holder.name, below.hostPath);
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

/** Why not, in words. Without a `holder` it is the same sandbox that may write. */
export function linkableReason({ through, above }: LinkablePlace, holder: MountHolder | undefined): string {
  const part = through === above ? "" : `, part of the mount of ${above}`;
  const whose = holder?.isElsewhere === true ? " of another state folder" : "";
  const writer = holder === undefined ? "this sandbox" : `sandbox ${JSON.stringify(holder.name)}${whose}`;
  return `its way leads through ${through}${part}, where ${writer} may put links`;
}

/** What takes its folders from a sandbox: for the time being, where `stop` is enough. */
export function howToFree({ name, remedy }: MountHolder, verb: "stop" | "rm"): string {
  if (remedy !== undefined) return remedy;
  const shown = JSON.stringify(name);
  if (verb === "rm") return `remove that sandbox: heyvm rm ${shown}`;
  return `stop that sandbox first, or remove it: heyvm stop ${shown}`;
}

function linkable(
  mount: AskedMount,
  holder: MountHolder | undefined,
  place: LinkablePlace,
): MountReplaceableError {
  const { through, above } = place;
  const reason = linkableReason(place, holder);
  if (!isInside(mount.resolved, through)) {
    const hint = `it leads to ${mount.resolved} now: if you mean that, mount it by this name`;
    return new MountReplaceableError(mount, reason, hint);
  }
  const hint =
    holder === undefined
      ? `mount ${above} alone, or read-only: --mount ${shellQuoted(above)}:GUEST:ro`
      : `mount ${through} itself, or ${howToFree(holder, "rm")}`;
  return new MountReplaceableError(mount, reason, hint);
}

function replacing(field: string, path: string, name: string, below: string): MountReplaceableError {
  const reason = `sandbox ${JSON.stringify(name)} has ${below} below it, and this one could put a link in its place`;
  const remedy = `--mount ${shellQuoted(path)}:GUEST:ro`;
  const hint = `mount it read-only, ${remedy}, or remove that sandbox: heyvm rm ${JSON.stringify(name)}`;
  return new MountReplaceableError({ field, path }, reason, hint);
}

/** A folder in which a name is looked up, and those that it lies in and can be written to by, itself included, by all their names. */
interface Step {
  path: string;
  around: ReadonlySet<string>;
}

type Way = readonly Step[];

function wayThrough(folders: Iterable<string>, table: MountTable): Way {
  return [...folders].map((path) => ({ path, around: table.writableAround(path) }));
}

/** Where a way leads through what this mount lets a guest write to, by its name or, with `identities`, renamed meanwhile. */
function placeOf(
  { hostPath, folder, readOnly }: HeldMount,
  way: Way,
  identities?: ReadonlyMap<string, string | undefined>,
): LinkablePlace | undefined {
  if (readOnly) return undefined;
  const isIt = (path: string): boolean =>
    path === hostPath || (folder !== undefined && identities?.get(path) === folder);
  const step = way.find(({ around }) => [...around].some(isIt));
  return step && { through: step.path, above: hostPath };
}

async function identitiesOn(way: Way): Promise<Map<string, string | undefined>> {
  const walked = new Set(way.map(({ path }) => path));
  const otherNames = new Set(way.flatMap(({ around }) => [...around].filter((path) => !walked.has(path))));
  return new Map([...(await folderIdentities(walked)), ...(await promptIdentities(otherNames))]);
}

/** Every folder in which the kernel looks up a name when it follows this path. */
async function walk(path: string): Promise<Set<string>> {
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
  return paths;
}

/** What cannot be looked at is no link: the folder that holds it is on the list. */
async function linkTarget(path: string): Promise<string | undefined> {
  return await readlink(path).catch(() => undefined);
}
