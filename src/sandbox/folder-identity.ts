import { stat } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";

/**
 * Which folder has this name at the moment, as `DEVICE:INODE` of stat(2): that stays when the folder is renamed, and no
 * other gets it while a machine has the folder open. `undefined` when it cannot be looked at.
 */
export async function folderIdentity(path: string): Promise<string | undefined> {
  const status = await stat(path, { bigint: true }).catch(() => undefined);
  return status && `${status.dev}:${status.ino}`;
}

/** The same of several folders, for which it waits as long as it takes. */
export async function folderIdentities(paths: Iterable<string>): Promise<Map<string, string | undefined>> {
  return new Map(
    await Promise.all([...paths].map(async (path) => [path, await folderIdentity(path)] as const)),
  );
}

/** How long a file system may take to tell one. */
const promptMs = 5000;

/** Lookups under way: one that hangs keeps one of the process's few threads for files, so none is begun twice. */
const underWay = new Map<string, Promise<string | undefined>>();

/**
 * The same of folders that nobody asked for, which may lie on file systems that do not answer: what tells nothing within
 * `timeoutMs` is unknown, and with it what lies below.
 */
export async function promptIdentities(
  paths: Iterable<string>,
  { lookUp = folderIdentity, timeoutMs = promptMs } = {},
): Promise<Map<string, string | undefined>> {
  const identities = new Map<string, string | undefined>();
  const silent: string[] = [];
  // From above down: what lies below a silent one would hang as well, each on a thread of its own.
  for (const path of [...paths].toSorted((one, other) => one.length - other.length)) {
    if (silent.some((folder) => path.startsWith(`${folder}/`))) continue;
    const answer = underWay.get(path) ?? lookUp(path).finally(() => underWay.delete(path));
    underWay.set(path, answer);
    const noAnswer = Symbol("no answer");
    const deadline = new AbortController();
    const late = setTimeout(timeoutMs, noAnswer, { signal: deadline.signal }).catch(() => noAnswer);
    const identity = await Promise.race([answer, late]);
    deadline.abort();
    if (typeof identity === "symbol") silent.push(path);
    else identities.set(path, identity);
  }
  return identities;
}

/** Whether two identities can be of one folder: after a boot of the host its device may have another number. */
export function maybeSameFolder(one: string, other: string): boolean {
  return inodeOf(one) === inodeOf(other);
}

function inodeOf(identity: string): string | undefined {
  return identity.split(":")[1];
}
