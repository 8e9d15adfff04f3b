/** A machine's QEMU as a process of this host. */
import { readFile } from "node:fs/promises";
import { setImmediate, setTimeout as delay } from "node:timers/promises";

import { errnoOf } from "../../../errors/index.ts";

/** What is not there (any more), or somebody else's. `ESRCH`: the process ended while it was looked at. */
const outOfSight: readonly (string | undefined)[] = ["ENOENT", "ESRCH", "EACCES", "EPERM"];
/** A killed process gives its memory back first. */
const endTimeoutMs = 2000;
const argumentsTimeoutMs = 5000;

/** What libvirt has written about it; whether that is still true, `isQemuOf` tells. */
export async function readPidFile(pidFile: string | undefined): Promise<number | undefined> {
  const pid = Number(pidFile === undefined ? undefined : await readIfSeen(pidFile));
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}

/** libvirt starts every QEMU with `-name guest=<domain>,…`. */
export async function isQemuOf(domain: string, pid: number): Promise<boolean> {
  const args = (await readArguments(pid))?.split("\0") ?? [];
  return args[args.indexOf("-name") + 1]?.split(",")[0] === `guest=${domain}`;
}

/** The process of a domain's QEMU; `undefined` when it does not run, is on another host, or cannot be told. */
export async function findQemu(pidFile: string | undefined, domain: string): Promise<number | undefined> {
  const pid = await readPidFile(pidFile);
  return pid !== undefined && (await isQemuOf(domain, pid)) ? pid : undefined;
}

/**
 * Ends a QEMU that was found just now, with the loss of what it holds back of the disk. Returns whether it has ended: it may
 * be another user's, or hang.
 */
export async function killQemu(pid: number, signal: AbortSignal): Promise<boolean> {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (errnoOf(error) === "EPERM") return false;
    if (errnoOf(error) !== "ESRCH") throw error;
  }
  const end = performance.now() + endTimeoutMs;
  // It is no child of ours, and Node cannot wait for others.
  while (!(await hasEnded(pid))) {
    if (performance.now() > end) return false;
    await delay(1, undefined, { signal });
  }
  return true;
}

/**
 * A zombie has nothing any more, unless a thread of it is stuck in the kernel: proc(5) has the state in the third field of
 * `stat`, after the name in its parentheses, and the number of threads in the twentieth.
 */
async function hasEnded(pid: number): Promise<boolean> {
  const stat = await readIfSeen(`/proc/${pid}/stat`);
  if (stat === undefined) return true;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "X" || (fields[0] === "Z" && Number(fields[17]) <= 1);
}

/** Reads that the kernel holds up. */
const held = new Map<number, Promise<string | undefined>>();

/**
 * The kernel lets nobody read a process's arguments while that changes its memory's map. When it hangs there, so does the
 * read, which cannot be ended and has one of Node's few threads for files: one a process, at most. `undefined` then.
 */
async function readArguments(pid: number): Promise<string | undefined> {
  if (held.has(pid)) return undefined;
  const reading = readIfSeen(`/proc/${pid}/cmdline`).finally(() => held.delete(pid));
  held.set(pid, reading);
  const limit = new AbortController();
  const late = async (): Promise<undefined> => {
    await delay(argumentsTimeoutMs, undefined, { signal: limit.signal }).catch(() => undefined);
    // Where the host is so busy that we come too late ourselves, what has been read is still to be taken.
    await setImmediate();
  };
  try {
    return await Promise.race([reading, late()]);
  } finally {
    limit.abort();
  }
}

/** `undefined` when it is out of this user's sight. */
export async function readIfSeen(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (outOfSight.includes(errnoOf(error))) return undefined;
    throw error;
  }
}
