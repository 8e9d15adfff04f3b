/**
 * Vitest's global set-up: what the tests of a run put into the temporary folder comes to lie in one folder of the run's
 * own. What is there at the end, is mounted there, or still runs and knows that folder fails the run, with the list.
 * So other runs and other people on this machine are never taken for leftovers.
 */
import { chmod, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { TestProject } from "vitest/node";

import { removeLeftovers } from "./fixtures/host/leftovers.ts";
import { mountsBelow } from "./fixtures/host/mounts.ts";
import { makeOwnFolder, ownerFile, runFolderVariable } from "./fixtures/host/own-folder.ts";
import { hasEndedWithin, knowledgeOf, mentions, runningProcesses } from "./fixtures/host/processes.ts";

/** Caches of the tools that run TypeScript. */
const caches = /^(tsx-\d+|node-compile-cache)$/;
/** What was told to end may still be at it. Vitest gives the tear-down more (`teardownTimeout`). */
const graceMs = 60_000;

let folder: string | undefined;

export async function setup({ tmpDir, vitest }: TestProject): Promise<void> {
  // A run within this one, of some tests as another user: the outer one counts.
  if (process.env[runFolderVariable] !== undefined) return;
  const removed = await removeLeftovers();
  if (removed !== undefined) console.log(removed);
  // Vitest chose its own folders before this: they are only noted.
  folder = await makeOwnFolder("hv-", [tmpDir, ...vitest.projects.map((project) => project.tmpDir)]);
  // As /tmp itself: some tests work as other users.
  await chmod(folder, 0o1777);
  process.env["TMPDIR"] = folder;
  process.env[runFolderVariable] = folder;
}

export async function teardown(): Promise<void> {
  if (folder === undefined) return;
  const leftovers = await leftoversIn(folder);
  if (!leftovers.some((line) => line.startsWith("mount"))) await rm(folder, { recursive: true, force: true });
  if (leftovers.length === 0) return;
  // Vitest tells of a failed tear-down, and goes on to succeed.
  process.exitCode = 1;
  throw new Error(`the tests of this run have left behind:\n${leftovers.join("\n")}`);
}

/** What is in the folder, mounted there, or runs and has it in its command line or environment. */
export async function leftoversIn(place: string, endingMs = graceMs): Promise<string[]> {
  const processes: string[] = [];
  const end = Date.now() + endingMs;
  for (const { pid, parent, command } of await runningProcesses()) {
    // Ourselves, and the workers that ran the tests.
    const isRunner = pid === process.pid || parent === process.pid;
    if (isRunner || !(await knows(pid, place)) || (await hasEndedWithin(pid, end - Date.now()))) continue;
    processes.push(`process ${pid}: ${command}`);
  }
  const mounts = await mountsBelow(place);
  const files = (await readdir(place)).filter((name) => !caches.test(name) && name !== ownerFile);
  return [
    ...processes,
    ...mounts.map((point) => `mount: ${point}`),
    ...files.map((name) => `file: ${join(place, name)}`),
  ];
}

async function knows(pid: number, place: string): Promise<boolean> {
  const { commandLine, environment = "" } = await knowledgeOf(pid);
  return mentions(commandLine, place) || mentions(environment, place);
}
