/** Programs on this host. */
import { execFile } from "node:child_process";
import { access, constants, stat } from "node:fs/promises";
import { basename, delimiter, isAbsolute, join } from "node:path";
import { promisify } from "node:util";

import { AbortedError } from "../../errors/index.ts";

/** Where a program is: as it stands when absolute, else in PATH and in the `sbin` folders that an ordinary user's PATH leaves out. */
export async function findProgram(name: string): Promise<string | undefined> {
  const folders = isAbsolute(name)
    ? ["/"]
    : [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  // A relative folder in PATH, or an empty one, would be where the user happens to be: in a project that nobody trusts.
  for (const folder of folders.filter((folder) => isAbsolute(folder))) {
    const path = join(folder, name);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

export interface RunHostProgramOptions {
  signal: AbortSignal;
  timeoutMs: number;
  cwd?: string | undefined;
}

/** A process that was killed is gone in no time, unless it waits for a file system that does not answer. */
const killTimeoutMs = 5000;

/**
 * What a program printed. Node's own error when it fails or takes too long; an AbortedError when it was given up, and then it
 * has ended, so that it writes to nothing that is removed next. (What it has started itself may live on.)
 */
export async function runHostProgram(
  path: string,
  args: readonly string[],
  { signal, timeoutMs, cwd }: RunHostProgramOptions,
): Promise<string> {
  const aborted = (): AbortedError => new AbortedError(`running ${basename(path)}`, signal.reason);
  if (signal.aborted) throw aborted();
  // Node's own `signal` option does not wait for the end, and sends a signal that can be ignored.
  const running = promisify(execFile)(path, args, { cwd, timeout: timeoutMs, killSignal: "SIGKILL" });
  const { child } = running;
  let timer: NodeJS.Timeout | undefined;
  const givenUp = new Promise<never>((_resolve, reject) => {
    const giveUp = (): void => {
      // What it has started may keep them open.
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.kill("SIGKILL");
      timer = setTimeout(() => reject(aborted()), killTimeoutMs);
    };
    signal.addEventListener("abort", giveUp, { once: true });
    const forget = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", giveUp);
    };
    running.then(forget, forget);
  });
  try {
    const { stdout } = await Promise.race([running, givenUp]);
    // Cut, perhaps.
    if (signal.aborted) throw aborted();
    return stdout;
  } catch (error) {
    throw signal.aborted ? aborted() : error;
  }
}

/** By path. A program that is installed anew is another file, or an older one that was changed. */
const knownVersions = new Map<string, { stamp: string; version: string | undefined }>();

/** First line of `program --version`; `undefined` when it cannot be run. A program is asked once, until its file changes. */
export async function programVersion(program: string, signal: AbortSignal): Promise<string | undefined> {
  const path = await findProgram(program);
  if (path === undefined) return undefined;
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    const stamp = [dev, ino, size, mtimeNs, ctimeNs].join();
    const known = knownVersions.get(path);
    if (known?.stamp === stamp) return known.version;
    const version = (await runHostProgram(path, ["--version"], { signal, timeoutMs: 10_000 })).split("\n")[0];
    knownVersions.set(path, { stamp, version });
    return version;
  } catch {
    if (signal.aborted) throw new AbortedError(`asking ${program} for its version`, signal.reason);
    return undefined;
  }
}
