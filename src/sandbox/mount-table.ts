/** Under which names the host reaches a folder: what is mounted at two places (`mount --bind`) has two, and all in it. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { errnoOf } from "../errors/index.ts";

export interface MountTable {
  /**
   * The folders that this one lies in, itself included, by all their names: who sees one of them sees this one. The path is
   * absolute and has no links. It comes from the table alone: the file systems are not asked.
   */
  foldersAround(path: string): ReadonlySet<string>;
  /** Only those of these where it can be written to: not those whose names lead through a mount that the host made read-only. */
  writableAround(path: string): ReadonlySet<string>;
}

/** A line of the table: the folder `root` of a file system's own tree, mounted at `path`. */
interface MountPoint {
  id: string;
  parentId: string;
  /** The file system. Not always what stat(2) says: btrfs has another number there for each subvolume. */
  device: string;
  root: string;
  path: string;
  readOnly: boolean;
}

/** One of the names of a folder, and whether what has it is mounted read-only there. */
type FolderName = Pick<MountPoint, "path" | "readOnly">;

/** As this process sees the host at this moment. Where there is no such table, a folder has the one name. */
export function readMountTable(): MountTable {
  try {
    // The kernel makes it up in memory and asks no file system that might not answer.
    return parseMountTable(readFileSync("/proc/self/mountinfo", "utf8"));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return parseMountTable("");
    throw error;
  }
}

/** Reads what proc_pid_mountinfo(5) describes. */
export function parseMountTable(text: string): MountTable {
  const points = text.split("\n").flatMap(parseLine);
  const ids = new Set(points.map(({ id }) => id));
  // The root of all has a parent that is not told of.
  const isRoot = ({ id, parentId }: MountPoint): boolean => !ids.has(parentId) || parentId === id;
  // A host may have thousands of mounts, and every sandbox's folders are looked up among them.
  const atPlace = grouped(points, (point) =>
    placeKey(isRoot(point) ? undefined : point.parentId, point.path),
  );
  const ofTree = grouped(points, ({ device, root }) => treeKey(device, root));

  /** On which mount a path ends, by the way that the kernel goes: from each mount to the first one that hides what is on it. */
  function mountOf(path: string): MountPoint | undefined {
    const folders = [...foldersAbove(path), path];
    let at: MountPoint | undefined;
    for (;;) {
      const [next] = folders.flatMap((folder) => atPlace.get(placeKey(at?.id, folder)) ?? []);
      if (next === undefined) return at;
      at = next;
    }
  }

  /**
   * Names that something else is mounted over count, too: who opened a folder above before still gets through it to what is
   * bound below, and what that folder is cannot be learnt by its name any more. Who has opened what is there now is taken
   * for one of them.
   */
  function namesOf(path: string): FolderName[] {
    const mount = mountOf(path);
    if (mount === undefined) return [{ path, readOnly: false }];
    const inner = join(mount.root, restOf(path, mount.path) ?? "");
    return [...foldersAbove(inner), inner].flatMap((folder) =>
      (ofTree.get(treeKey(mount.device, folder)) ?? []).map(({ path, readOnly }) => {
        return { path: join(path, restOf(inner, folder) ?? ""), readOnly };
      }),
    );
  }

  const known = new Map<string, FolderName[]>();
  const knownNamesOf = (path: string): FolderName[] => {
    const names = known.get(path) ?? namesOf(path);
    known.set(path, names);
    return names;
  };
  const around = (names: readonly FolderName[]): Set<string> =>
    new Set(names.flatMap(({ path }) => [...foldersAbove(path), path]));
  return {
    foldersAround: (path) => around(knownNamesOf(path)),
    writableAround: (path) => around(knownNamesOf(path).filter(({ readOnly }) => !readOnly)),
  };
}

function grouped(points: readonly MountPoint[], keyOf: (point: MountPoint) => string) {
  const groups = new Map<string, MountPoint[]>();
  for (const point of points) {
    const key = keyOf(point);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [point]);
    else group.push(point);
  }
  return groups;
}

/** A place on a mount, by that one's id; without one it is where a root may be. */
function placeKey(id: string | undefined, path: string): string {
  return `${id ?? ""} ${path}`;
}

/** A folder of a file system's own tree. */
function treeKey(device: string, root: string): string {
  return `${device} ${root}`;
}

/** From `/` down to the folder that holds it. */
export function foldersAbove(path: string): string[] {
  const folders: string[] = [];
  for (let at = path; at !== "/" && at !== ".";) {
    at = dirname(at);
    folders.unshift(at);
  }
  return folders;
}

/** `36 35 98:0 /inner/folder /mount/point rw,noatime … - ext4 /dev/x …`. What has no folder, a namespace's file, is left out. */
function parseLine(line: string): MountPoint[] {
  const fields = line.split(" ");
  const [id, parentId, device, root, path, options] = fields;
  const [type, source] = fields.slice(fields.indexOf("-") + 1);
  if (id === undefined || parentId === undefined || device === undefined || options === undefined) return [];
  if (root?.startsWith("/") !== true || path?.startsWith("/") !== true) return [];
  const readOnly = options.split(",").includes("ro");
  const point = { id, parentId, path: unescaped(path), readOnly };
  // Of NFS `root` is `/` whatever is mounted, and the source tells it: `server:/export/inner/folder`.
  if (type?.startsWith("nfs") === true)
    return [{ ...point, device: "nfs", root: plain(unescaped(`/${source}`)) }];
  return [{ ...point, device, root: plain(unescaped(root)) }];
}

/** Without the slashes in `host:/`, and in `/folder//deleted` of one that was removed: nothing would seem to lie in such a folder. */
function plain(path: string): string {
  return path.replaceAll(/\/+/g, "/").replace(/(?<=.)\/$/, "");
}

/** The kernel writes blanks and backslashes as octal numbers. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** How a path goes on below a folder: empty for the folder itself, `undefined` elsewhere. */
function restOf(path: string, folder: string): string | undefined {
  if (path === folder) return "";
  const start = folder === "/" ? folder : `${folder}/`;
  return path.startsWith(start) ? path.slice(start.length) : undefined;
}
