/**
 * One process at a time does a piece of work, and the others that want it see how far it is. The lock is flock(2) on a file
 * in the folder that the work is about: no other user can take it, and every container that has the folder meets the same
 * one. The kernel takes it back however its process ends, so there is never a stale lock.
 *
 * Node has no call for that. flock(1) has: it gets our file descriptor, and as a lock belongs to the open file and not to
 * who has asked for it, it stays with us when that program has ended.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, readFile, rm, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { text } from "node:stream/consumers";

import { AbortedError, DiskFullError, errnoOf, HeyvmError, shellQuoted } from "../errors/index.ts";

/** The process that holds a lock lives, but does nothing. */
export class LockHolderSilentError extends HeyvmError {
  constructor(what: string, { pid, silentMs }: { pid: number | undefined; silentMs: number }) {
    const who = pid === undefined ? "another process" : `process ${pid}`;
    super("timeout", `${who} does ${what}, and has been silent for ${silentMs} ms`, {
      hint:
        pid === undefined ? "see which one: lslocks | grep heyvm-lock" : `end it, if it hangs: kill ${pid}`,
      details: { pid },
    });
  }
}

/** The lock's file cannot be locked: it is a link, or on a file system without locks, or flock(1) is missing. */
export class LockUnusableError extends HeyvmError {
  constructor(path: string, why: string, { hint, cause }: { hint?: string; cause?: unknown } = {}) {
    super("permission_denied", `${path} cannot be locked: ${why}`, { hint, cause, details: { path } });
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

const heartbeatMs = 1000;
const lookMs = 250;
const defaultSilentMs = 15_000;
/** Of flock(1), in every distribution's base system. */
const programFolders = ["/usr/bin", "/bin"];
/** What flock(1) is told to answer when another has the lock (BusyBox's cannot be told: it answers 1, as for errors, but says nothing). */
const busyExit = 1;

/** Waits for its turn. `waited` tells whether another process had it meanwhile. */
export async function lockForProcess(request: LockRequest): Promise<{ lock: ProcessLock; waited: boolean }> {
  const path = lockPath(request.folder, request.name);
  for (let waited = false; ; waited = true) {
    if (request.signal.aborted) throw new AbortedError(request.what, request.signal.reason);
    const file = await openLockFile(path);
    try {
      if (await takeAtOnce(file, path)) {
        const lock = await keep(file, path);
        if (lock !== undefined) return { lock, waited };
      } else {
        await waitForTurn(file, path, request);
        const lock = await keep(file, path);
        if (lock !== undefined) return { lock, waited: true };
      }
    } catch (error) {
      await file.close();
      throw error;
    }
    // Its holder has removed the file together with the lock: there may be another one by now.
    await file.close();
  }
}

/** The lock, if nobody has it. */
export async function tryLockForProcess(folder: string, name: string): Promise<ProcessLock | undefined> {
  const path = lockPath(folder, name);
  for (;;) {
    const file = await openLockFile(path);
    try {
      if (!(await takeAtOnce(file, path))) {
        await file.close();
        return undefined;
      }
      const lock = await keep(file, path);
      if (lock !== undefined) return lock;
    } catch (error) {
      await file.close();
      throw error;
    }
    await file.close();
  }
}

function lockPath(folder: string, name: string): string {
  return join(folder, `.heyvm-lock-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`);
}

async function openLockFile(path: string): Promise<FileHandle> {
  try {
    const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    if ((await file.stat()).isFile()) return file;
    await file.close();
  } catch (error) {
    if (errnoOf(error) === "ENOSPC") throw new DiskFullError("making a lock", path, error);
    if (errnoOf(error) !== "ELOOP") throw error;
  }
  throw new LockUnusableError(path, "it is no file", {
    hint: `see who has made it: ls -ld ${shellQuoted(path)}`,
  });
}

/** The lock that `file` has, unless another file is in its place. */
async function keep(file: FileHandle, path: string): Promise<ProcessLock | undefined> {
  if (!(await isInPlace(file, path))) return undefined;
  let content = JSON.stringify({ pid: process.pid });
  let writing = Promise.resolve();
  const write = (): void => {
    writing = writing.then(async () => await publish(file, content));
  };
  write();
  const heartbeat = setInterval(write, heartbeatMs);
  heartbeat.unref();
  return {
    tell(state) {
      content = JSON.stringify({ pid: process.pid, state });
      write();
    },
    async [Symbol.asyncDispose]() {
      clearInterval(heartbeat);
      await writing;
      // While we have the lock nobody else may remove it: who waits for this file finds out that it has gone.
      if (await isInPlace(file, path)) await rm(path, { force: true });
      await file.close();
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

async function isInPlace(file: FileHandle, path: string): Promise<boolean> {
  const [ours, there] = await Promise.all([
    file.stat({ bigint: true }),
    stat(path, { bigint: true }).catch(() => undefined),
  ]);
  return ours.ino === there?.ino && ours.dev === there.dev;
}

/** Whether the lock was free. */
async function takeAtOnce(file: FileHandle, path: string): Promise<boolean> {
  const program = startFlock(file, path, ["-n", "-x", "3"]);
  const code = await program.ended;
  if (code === 0) return true;
  const said = (await program.said).trim();
  if (code === busyExit && said === "") return false;
  throw new LockUnusableError(path, said === "" ? `flock ended with ${code}` : said);
}

/** Resolves when the file is locked for us. */
async function waitForTurn(file: FileHandle, path: string, request: LockRequest): Promise<void> {
  const { what, signal, onState, silentMs = defaultSilentMs } = request;
  const program = startFlock(file, path, ["-x", "3"]);
  let failure: Error | undefined;
  const giveUp = (error: Error): void => {
    failure ??= error;
    program.child.kill();
  };
  const abort = (): void => giveUp(new AbortedError(what, signal.reason));
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  const watch = watchHolder(path, silentMs, onState, (pid) =>
    giveUp(new LockHolderSilentError(what, { pid, silentMs })),
  );
  try {
    const code = await program.ended;
    if (failure !== undefined) throw failure;
    if (code !== 0)
      throw new LockUnusableError(path, (await program.said).trim() || `flock ended with ${code}`);
  } finally {
    clearInterval(watch);
    signal.removeEventListener("abort", abort);
  }
}

/** Looks at what the holder tells, until the timer is cleared. */
function watchHolder(
  path: string,
  silentMs: number,
  onState: ((state: unknown) => void) | undefined,
  onSilent: (pid: number | undefined) => void,
): NodeJS.Timeout {
  let seen = "";
  let changedAtMs = performance.now();
  let told = "";
  let isLooking = false;
  const look = async (): Promise<void> => {
    const status = await stat(path, { bigint: true }).catch(() => undefined);
    const content = await readFile(path, "utf8").catch(() => "");
    const news = `${status?.ino} ${status?.mtimeNs} ${content}`;
    const holder = parseContent(content);
    if (news !== seen) {
      seen = news;
      changedAtMs = performance.now();
    } else if (performance.now() - changedAtMs > silentMs) onSilent(holder?.pid);
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

function parseContent(content: string): { pid: number | undefined; state: unknown } | undefined {
  try {
    const parsed: unknown = JSON.parse(content.split("\n", 1)[0] ?? "");
    if (typeof parsed !== "object" || parsed === null) return undefined;
    const pid = "pid" in parsed && typeof parsed.pid === "number" ? parsed.pid : undefined;
    return { pid, state: "state" in parsed ? parsed.state : undefined };
  } catch {
    return undefined;
  }
}

interface Flock {
  child: ChildProcess;
  /** Its exit code; `null` after a signal. */
  ended: Promise<number | null>;
  /** What it has complained of. */
  said: Promise<string>;
}

/** Runs flock(1) with the file as its descriptor 3. */
function startFlock(file: FileHandle, path: string, args: string[]): Flock {
  // A relative name in PATH, or an empty one, would be looked up in the folder that the user happens to be in.
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder.startsWith("/"));
  const env = { ...process.env, LC_ALL: "C", PATH: [...folders, ...programFolders].join(delimiter) };
  const child = spawn("flock", args, { env, stdio: ["ignore", "ignore", "pipe", file.fd] });
  const said = child.stderr === null ? Promise.resolve("") : text(child.stderr);
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", (cause) => {
      const hint = "install util-linux: apt-get install util-linux";
      reject(new LockUnusableError(path, "there is no program flock", { hint, cause }));
    });
    child.once("close", resolve);
  });
  return { child, ended, said };
}
