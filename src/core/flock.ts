/**
 * Locks of flock(2) on files. Node has no call for that. flock(1) has: it gets our file descriptor, and as a lock belongs to
 * the open file and not to who has asked for it, it stays with us when that program has ended.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { delimiter } from "node:path";
import { text } from "node:stream/consumers";

import { DiskFullError, errnoOf, HeyvmError, isDiskFull, messageOf, shellQuoted } from "../errors/index.ts";

/** The lock's file cannot be locked: it is a link, or on a file system without locks, or flock(1) is missing. */
export class LockUnusableError extends HeyvmError {
  constructor(path: string, why: string, { hint, cause }: { hint?: string; cause?: unknown } = {}) {
    super("permission_denied", `${path} cannot be locked: ${why}`, { hint, cause, details: { path } });
  }
}

/** Where flock(1) is, in every distribution's base system. */
const programFolders = ["/usr/bin", "/bin"];
/** The exit code of flock(1) when another has the lock. BusyBox's cannot be told another, and this is its code for errors, too: then it says why. */
const busyExit = 1;

/** Opens the file, made when missing, without following a link. */
export async function openLockFile(path: string): Promise<FileHandle> {
  try {
    const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    if ((await file.stat()).isFile()) return file;
    await file.close();
  } catch (error) {
    if (isDiskFull(error)) throw new DiskFullError("making a lock", path, error);
    if (errnoOf(error) !== "ELOOP") throw error;
  }
  throw new LockUnusableError(path, "it is no file", {
    hint: `see who has made it: ls -ld ${shellQuoted(path)}`,
  });
}

/** Whether the path still is the open file's. */
export async function isInPlace(file: FileHandle, path: string): Promise<boolean> {
  const [ours, there] = await Promise.all([
    file.stat({ bigint: true }),
    stat(path, { bigint: true }).catch(() => undefined),
  ]);
  return ours.ino === there?.ino && ours.dev === there.dev;
}

/** Whether the lock was free: then it is ours, until the file is closed. */
export async function tryFlock(file: FileHandle, path: string): Promise<boolean> {
  const program = startProgram(file, path, ["-n", "-x", "3"]);
  const code = await program.ended;
  if (code === 0) return true;
  const said = await program.said;
  if (code === busyExit && said === "") return false;
  throw new LockUnusableError(path, said === "" ? `flock ended with ${code}` : said);
}

/** Resolves when the lock is ours. Throws the signal's reason. */
export async function waitForFlock(file: FileHandle, path: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const program = startProgram(file, path, ["-x", "3"]);
  const leave = (): void => void program.child.kill();
  signal.addEventListener("abort", leave, { once: true });
  try {
    const code = await program.ended;
    signal.throwIfAborted();
    if (code !== 0) throw new LockUnusableError(path, (await program.said) || `flock ended with ${code}`);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

interface Program {
  child: ChildProcess;
  /** Its exit code; `null` after a signal. */
  ended: Promise<number | null>;
  /** What it has complained of. */
  said: Promise<string>;
}

/** Runs flock(1) with the file as its descriptor 3. */
function startProgram(file: FileHandle, path: string, args: string[]): Program {
  // A relative name in PATH, or an empty one, would be looked up in the folder that the user happens to be in.
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder.startsWith("/"));
  const env = { ...process.env, LC_ALL: "C", PATH: [...folders, ...programFolders].join(delimiter) };
  const child = spawn("flock", args, { env, stdio: ["ignore", "ignore", "pipe", file.fd] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", (cause) => {
      const isMissing = errnoOf(cause) === "ENOENT";
      const why = isMissing ? "there is no program flock" : `flock cannot be run: ${messageOf(cause)}`;
      const hint = isMissing ? "install util-linux: apt-get install util-linux" : undefined;
      reject(new LockUnusableError(path, why, { ...(hint !== undefined && { hint }), cause }));
    });
    child.once("close", resolve);
  });
  return { child, ended, said: messageFrom(child) };
}

/** Without a pipe, where the process could not even be made: `ended` tells why. */
async function messageFrom({ stderr }: ChildProcess): Promise<string> {
  try {
    return stderr ? (await text(stderr)).trim() : "";
  } catch {
    return "";
  }
}
