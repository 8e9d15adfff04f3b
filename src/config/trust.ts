/** Whether a file can be changed by anybody but root and ourselves: what was seen in it then stays true. */
import { execFile } from "node:child_process";
import type { Stats } from "node:fs";
import { lstat, readFile, readlink } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { promisify } from "node:util";

import { errnoOf } from "../errors/index.ts";

const maxLinks = 40;
const othersMayWrite = 0o002;
const groupMayWrite = 0o020;
const sticky = 0o1000;

/**
 * Why others may change the file at `path`, or put another in its place; `undefined` when they can't. Goes by owners and
 * mode bits of the file, of the folders above it, and of each link on the way. `alsoTrusted` are accounts that may own
 * the file itself: QEMU's, to which libvirt gives what its machines stand on.
 */
export async function whyOthersMayChange(
  path: string,
  alsoTrusted: readonly string[],
): Promise<string | undefined> {
  let rest = partsOf(path);
  let at: string = sep;
  for (let links = 0; ;) {
    const stats = await look(at);
    if (stats === undefined) return `${at} can't be looked at`;
    if (stats.isSymbolicLink()) {
      if (!isOurs(stats)) return `${at} is a link of another user`;
      if (++links > maxLinks) return `${at} is one of too many links`;
      const target = await readlink(at);
      rest = [...partsOf(target), ...rest];
      at = target.startsWith(sep) ? sep : dirname(at);
      continue;
    }
    const name = rest.shift();
    const isFile = name === undefined;
    if (!isOurs(stats) && !(isFile && (await isAccount(stats.uid, alsoTrusted)))) {
      return `${at} belongs to another user`;
    }
    // What lies in a sticky folder can be renamed and removed only by its owner, who is looked at next.
    const isSafeFolder = !isFile && (stats.mode & sticky) !== 0;
    if (!isSafeFolder && (await isWritableByOthers(at, stats))) return `others may write to ${at}`;
    if (isFile) return undefined;
    at = join(at, name);
  }
}

function partsOf(path: string): string[] {
  return path.split(sep).filter((part) => part !== "");
}

/** What isn't there now may be there in a moment, when somebody else has a hand in it. */
async function look(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES", "ELOOP", "ENAMETOOLONG"].includes(errnoOf(error) ?? ""))
      return undefined;
    throw error;
  }
}

function isOurs({ uid }: Pick<Stats, "uid">): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

async function isWritableByOthers(path: string, { mode, gid }: Stats): Promise<boolean> {
  if ((mode & othersMayWrite) !== 0) return true;
  if ((mode & groupMayWrite) === 0) return false;
  return !(await hasOnlyOurs(gid)) || (await hasAccessList(path));
}

/** With one, the group's bits are no more than what its entries, also for other users, are cut to: acl(5). */
async function hasAccessList(path: string): Promise<boolean> {
  // Node reads no extended attributes. `ls` of the GNU tools marks such a file by a plus behind its mode.
  const { stdout } = await promisify(execFile)("ls", ["-dn", "--", path], { timeout: 10_000 });
  return stdout.startsWith("+", "drwxrwxrwx".length);
}

/** Whether nobody but root and we are in the group, as in the private one that many systems give to each user. */
async function hasOnlyOurs(gid: number): Promise<boolean> {
  const users = await linesOf("/etc/passwd");
  const group = (await linesOf("/etc/group")).find((fields) => fields[2] === String(gid));
  // A directory service may have members that nothing here tells of.
  if (group === undefined) return false;
  const members = new Set(group[3]?.split(",").filter((name) => name !== ""));
  for (const [name = "", , uid, primaryGid] of users) {
    const isMember = members.delete(name) || primaryGid === String(gid);
    if (isMember && !isOurs({ uid: Number(uid) })) return false;
  }
  return members.size === 0;
}

async function isAccount(uid: number, names: readonly string[]): Promise<boolean> {
  if (names.length === 0) return false;
  const users = await linesOf("/etc/passwd");
  return users.some(([name = "", , id]) => id === String(uid) && names.includes(name));
}

async function linesOf(path: string): Promise<string[][]> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => (line === "" ? [] : [line.split(":")]));
}
