import { readFileSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";

import { errnoOf } from "../../errors/index.ts";

/** Process ids of this machine that have `NAME=value` in their environment, zombies aside. */
export async function processesWith(variable: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/u.test(name)) continue;
    const environment = await readFile(environmentOf(name), "latin1").catch(() => "");
    if (has(environment, variable)) found.push(Number(name));
  }
  return found;
}

/** Kills them; one that has ended since it was found is left alone, also when its id is another's by now. */
export async function killProcessesWith(variable: string): Promise<void> {
  for (const pid of await processesWith(variable)) {
    try {
      // With no pause between the look and the signal.
      if (has(readFileSync(environmentOf(pid), "latin1"), variable)) process.kill(pid, "SIGKILL");
    } catch (error) {
      // ENOENT: it had ended; ESRCH: it ended while it was looked at; EACCES: another user's has its id.
      if (!["ENOENT", "ESRCH", "EACCES"].includes(errnoOf(error) ?? "")) throw error;
    }
  }
}

function environmentOf(pid: number | string): string {
  return `/proc/${pid}/environ`;
}

function has(environment: string, variable: string): boolean {
  return environment.split("\0").includes(variable);
}
