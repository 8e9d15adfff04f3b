/**
 * User-mode networking by passt, started by us because libvirt 9 cannot pass the option that keeps a guest from the
 * host's loopback. One passt per machine: it ends by itself when QEMU closes its socket.
 */
import { spawn } from "node:child_process";
import { existsSync, watch } from "node:fs";
import { open, readdir, readFile, readlink, rm } from "node:fs/promises";
import { join } from "node:path";

import { AbortedError, HeyvmError } from "../../../errors/index.ts";
import { findProgram } from "../program.ts";
import { openRuntimeFolder } from "../../../config/runtime-folder.ts";

/** passt did not come up. */
export class PasstError extends HeyvmError {
  constructor(why: string) {
    super("backend_failed", `the guest's network could not be started: passt ${why}`, {
      hint: "create the sandbox without --needs-network, or look at passt's message",
    });
  }
}

/** Whether passt is installed. */
export async function hasPasst(): Promise<boolean> {
  return (await findProgram("passt")) !== undefined;
}

const deadlineMs = 10_000;

/** Starts passt for a machine and returns its socket's path once it listens. */
export async function startPasst(folder: string, id: string, signal: AbortSignal): Promise<string> {
  const program = await findProgram("passt");
  if (program === undefined) throw new PasstError("is not installed");
  await openRuntimeFolder(folder);
  await stopPasst(folder, id);
  const paths = passtPaths(folder, id);
  await using log = await open(paths.log, "w", 0o600);
  const args = ["--foreground", "--quiet", "--stderr", "--one-off", "--no-map-gw"];
  const child = spawn(program, [...args, "--socket", paths.socket, "--pid", paths.pid], {
    detached: true,
    stdio: ["ignore", "ignore", log.fd],
  });
  child.unref();
  const ended = new Promise<never>((_, reject) => {
    child.once("error", (error) => reject(new PasstError(error.message)));
    child.once("exit", () => {
      readFile(paths.log, "utf8").then(
        (text) => reject(new PasstError(`said: ${text.trim()}`)),
        () => reject(new PasstError("ended at once")),
      );
    });
  });
  ended.catch(() => undefined);
  try {
    await Promise.race([appearance(folder, [paths.socket, paths.pid], signal), ended]);
    return paths.socket;
  } catch (error) {
    child.kill();
    await removeFiles(folder, id);
    throw error;
  }
}

/** Ends a machine's passt, if it still runs, and removes its files. Idempotent. */
export async function stopPasst(folder: string, id: string): Promise<void> {
  const pid = Number(await readFile(passtPaths(folder, id).pid, "utf8").catch(() => ""));
  // The number may by now be another process's.
  if (pid > 1 && (await readlink(`/proc/${pid}/exe`).catch(() => "")).includes("passt")) {
    try {
      process.kill(pid);
    } catch {
      // Ended meanwhile.
    }
  }
  await removeFiles(folder, id);
}

/** Machines that have files here. */
export async function listPasst(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.flatMap((name) => (name.endsWith(".pid") ? [name.slice(0, -".pid".length)] : []));
}

function passtPaths(folder: string, id: string) {
  return {
    socket: join(folder, `${id}.sock`),
    pid: join(folder, `${id}.pid`),
    log: join(folder, `${id}.log`),
  };
}

async function removeFiles(folder: string, id: string): Promise<void> {
  for (const path of Object.values(passtPaths(folder, id))) await rm(path, { force: true });
}

/** Settles when all files are there. */
function appearance(folder: string, paths: readonly string[], signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const watcher = watch(folder);
    const timer = setTimeout(
      () => end(new PasstError(`did not listen within ${deadlineMs / 1000} s`)),
      deadlineMs,
    );
    const onAbort = () => end(new AbortedError("starting the guest's network", signal.reason));
    const look = () => {
      if (paths.every((path) => existsSync(path))) end();
    };
    function end(error?: Error) {
      watcher.close();
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      if (error === undefined) resolve();
      else reject(error);
    }
    watcher.on("change", look).on("error", end);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    else look();
  });
}
