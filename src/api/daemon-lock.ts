/**
 * One daemon per state folder. The lock is an abstract unix socket: the kernel gives its name to one process only and
 * takes it back however that process ends, so that there is never a stale lock. The name is a secret kept in the state
 * folder, so that no other user can take it.
 */
import { randomBytes } from "node:crypto";
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";

import { type StatePaths } from "../config/paths.ts";
import { errnoOf, HeyvmError } from "../errors/index.ts";

/** Another daemon owns this state folder. */
export class DaemonRunningError extends HeyvmError {
  constructor(state: StatePaths) {
    super("wrong_state", `another heyvm daemon already serves ${state.root}`, {
      hint: `every heyvm command uses it; its process id is in ${state.daemonInfo}`,
      details: { data_dir: state.root },
    });
  }
}

/** Throws `DaemonRunningError` when another process holds the lock. */
export async function lockStateFolder(state: StatePaths): Promise<AsyncDisposable> {
  await mkdir(state.root, { recursive: true, mode: 0o700 });
  const name = await lockName(state.daemonLock);
  const server = createServer((socket) => socket.destroy());
  try {
    await listen(server, `\0heyvm-${name}`);
  } catch (error) {
    if (errnoOf(error) === "EADDRINUSE") throw new DaemonRunningError(state);
    throw error;
  }
  return {
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Made once, in a way in which two that make it at the same time end with the same. */
async function lockName(path: string): Promise<string> {
  const mine = `${path}.${process.pid}-${randomBytes(4).toString("hex")}.tmp`;
  await writeFile(mine, randomBytes(16).toString("hex"), { mode: 0o600, flag: "wx" });
  try {
    await link(mine, path);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  } finally {
    await rm(mine, { force: true });
  }
  return (await readFile(path, "utf8")).trim();
}

async function listen(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
