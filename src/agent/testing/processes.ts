import { readFile, readdir } from "node:fs/promises";

/** Process ids of this machine that have `NAME=value` in their environment, zombies aside. */
export async function processesWith(variable: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/u.test(name)) continue;
    const environment = await readFile(`/proc/${name}/environ`, "latin1").catch(() => "");
    if (environment.split("\0").includes(variable)) found.push(Number(name));
  }
  return found;
}
