/**
 * One process at a time does a piece of work, and the others that want it see how far it is. The lock is flock(2) on a file
 * in the folder that the work is about: no other user can take it, and every container that has the folder meets the same
 * one. The kernel takes it back however its process ends, so there is never a stale lock.
 */
import { createHash } from "node:crypto";
import { type FileHandle, readFile, readlink, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import { AbortedError, HeyvmError } from "../errors/index.ts";
import { isInPlace, openLockFile, tryFlock, waitForFlock } from "./flock.ts";

/** The process that holds a lock lives, but does nothing. */
export class LockHolderSilentError extends HeyvmError {
  constructor(what: string, { holder, silentMs }: { holder: Holder | undefined; silentMs: number }) {
    const isHere = holder?.isHere === true;
    const who =
      holder === undefined ? "another process" : isHere ? `process ${holder.pid}` : "another container";
    super("timeout", `${who} does ${what}, and has been silent for ${silentMs} ms`, {
      hint: isHere ? `end it, if it hangs: kill ${holder.pid}` : "see which one: lslocks | grep heyvm-lock",
      details: { pid: holder?.pid },
    });
  }
}

export interface ProcessLock extends AsyncDisposable {
  /** Tells those who wait how far the work is. */
  tell(state: object): void;
}

export interface LockRequest {
  /** Folder that the work is about; writable. */
  folder: string;
  name: string;
  /** In words, for errors. */
  what: string;
  signal: AbortSignal;
  /** What the process that has the lock tells. */
  onState?: ((state: unknown) => void) | undefined;
  /** How long it may be silent. */
  silentMs?: number | undefined;
}

/** What the first line of a lock's file tells. */
interface Holder {
  pid: number;
  /** Whether the number means the same process to us. */
  isHere: boolean;
  state: unknown;
}

const heartbeatMs = 1000;
const lookMs = 250;
const defaultSilentMs = 15_000;

/** Waits for its turn. `waited` tells whether another process had it meanwhile. */
export async function lockForProcess(request: LockRequest): Promise<{ lock: ProcessLock; waited: boolean }> {
  const path = lockPath(request.folder, request.name);
  let waited = false;
  const wait = async (file: FileHandle): Promise<void> => {
    waited = true;
    await waitForTurn(file, path, request);
  };
  for (;;) {
    if (request.signal.aborted) throw new AbortedError(request.what, request.signal.reason);
    const lock = await lockFile(path, wait);
    if (typeof lock === "object") return { lock, waited };
  }
}

/** The lock, if nobody has it. */
export async function tryLockForProcess(folder: string, name: string): Promise<ProcessLock | undefined> {
  const path = lockPath(folder, name);
  for (;;) {
    const lock = await lockFile(path);
    if (lock !== "removed") return lock === "busy" ? undefined : lock;
  }
}

function lockPath(folder: string, name: string): string {
  return join(folder, `.heyvm-lock-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`);
}

/**
 * One try on the file that is there now. `busy`: another has it, and there is no `wait`. `removed`: its holder has removed the
 * file together with the lock, and there may be another one by now.
 */
async function lockFile(
  path: string,
  wait?: (file: FileHandle) => Promise<void>,
): Promise<ProcessLock | "busy" | "removed"> {
  const file = await openLockFile(path);
  let outcome: ProcessLock | "busy" | "removed" = "busy";
  try {
    const isOurs = await tryFlock(file, path);
    if (!isOurs) await wait?.(file);
    if (isOurs || wait !== undefined)
      outcome = (await isInPlace(file, path)) ? await hold(file, path) : "removed";
    return outcome;
  } finally {
    if (typeof outcome === "string") await file.close();
  }
}

async function hold(file: FileHandle, path: string): Promise<ProcessLock> {
  const mark = { pid: process.pid, pid_namespace: await pidNamespace() };
  let content = JSON.stringify(mark);
  let writing = Promise.resolve();
  const write = (): void => {
    writing = writing.then(async () => await publish(file, content));
  };
  write();
  const heartbeat = setInterval(write, heartbeatMs);
  heartbeat.unref();
  return {
    tell(state) {
      content = JSON.stringify({ ...mark, state });
      write();
    },
    async [Symbol.asyncDispose]() {
      clearInterval(heartbeat);
      await writing;
      try {
        // While we have the lock nobody else may remove it: who waits for this file finds out that it has gone.
        if (await isInPlace(file, path)) await rm(path, { force: true });
      } finally {
        await file.close();
      }
    },
  };
}

/** The lock is what matters: with a full disk nobody sees how far the work is. The time of the last change is the heartbeat. */
async function publish(file: FileHandle, content: string): Promise<void> {
  try {
    // The first line counts: what was told before may have been longer.
    await file.write(`${content}\n`, 0, "utf8");
  } catch {
    const now = new Date();
    await file.utimes(now, now).catch(() => undefined);
  }
}

async function waitForTurn(file: FileHandle, path: string, request: LockRequest): Promise<void> {
  const { what, signal, onState, silentMs = defaultSilentMs } = request;
  const silent = new AbortController();
  const watch = watchHolder(path, silentMs, onState, (holder) =>
    silent.abort(new LockHolderSilentError(what, { holder, silentMs })),
  );
  try {
    await waitForFlock(file, path, AbortSignal.any([signal, silent.signal]));
  } catch (error) {
    throw signal.aborted ? new AbortedError(what, signal.reason) : error;
  } finally {
    clearInterval(watch);
  }
}

/** Looks at what the holder tells, until the timer is cleared. */
function watchHolder(
  path: string,
  silentMs: number,
  onState: ((state: unknown) => void) | undefined,
  onSilent: (holder: Holder | undefined) => void,
): NodeJS.Timeout {
  let seen = "";
  let changedAtMs = performance.now();
  let told = "";
  let isLooking = false;
  const look = async (): Promise<void> => {
    const status = await stat(path, { bigint: true }).catch(() => undefined);
    const content = await readFile(path, "utf8").catch(() => "");
    const news = `${status?.ino} ${status?.mtimeNs} ${content}`;
    const holder = parseHolder(content, await pidNamespace());
    if (news !== seen) {
      seen = news;
      changedAtMs = performance.now();
    } else if (performance.now() - changedAtMs > silentMs) onSilent(holder);
    const state = JSON.stringify(holder?.state);
    if (state === undefined || state === told) return;
    told = state;
    onState?.(holder?.state);
  };
  const lookOnce = (): void => {
    if (isLooking) return;
    isLooking = true;
    void look().finally(() => {
      isLooking = false;
    });
  };
  lookOnce();
  return setInterval(lookOnce, lookMs);
}

/** `undefined` for what is half written, or nobody's. */
function parseHolder(content: string, ownNamespace: string): Holder | undefined {
  try {
    const parsed: unknown = JSON.parse(content.split("\n", 1)[0] ?? "");
    if (typeof parsed !== "object" || parsed === null) return undefined;
    if (!("pid" in parsed) || typeof parsed.pid !== "number") return undefined;
    const isHere = "pid_namespace" in parsed && parsed.pid_namespace === ownNamespace;
    return { pid: parsed.pid, isHere, state: "state" in parsed ? parsed.state : undefined };
  } catch {
    return undefined;
  }
}

/** In another one, a container's, the same number is another process's. */
async function pidNamespace(): Promise<string> {
  return await readlink("/proc/self/ns/pid").catch(() => "");
}
