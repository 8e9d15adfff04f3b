/** Commands that a signal ends: what they began is undone, and they wait for it. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, expect, test } from "vitest";

import { type CliBench, createCliBench } from "./testing/cli-bench.ts";
import { followOutputs, spawnCli } from "./testing/run-cli.ts";

let bench: CliBench;

beforeAll(async () => {
  bench = await createCliBench();
});

afterAll(async () => await bench[Symbol.asyncDispose]());

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)("%s during create ends it, waits for the undo and leaves with %i", async (signal, code) => {
  const child = spawnCli(["create", "--setup-hook", "touch /begun; sleep 600"], bench.options);
  const [, stderr] = followOutputs(child);
  const id = await newWith("begun");
  await interruptHeld(child, signal, `DELETE /sandboxes/${id}`);
  expect(child.exitCode).toBe(code);
  const end = `error: interrupted by ${signal}: nothing is left of the sandbox\n`;
  expect(stderr().slice(-end.length)).toBe(end);
  for (const kept of ["sandboxes", "machines"]) {
    expect(await readdir(join(bench.folder, kept))).toEqual([]);
  }
});

test.each(["create", "run"])("%s tells what it leaves when the undo fails", async (verb) => {
  const words = [verb, "--setup-hook", "touch /lasting; sleep 600"];
  const child = spawnCli(verb === "run" ? [...words, "--", "true"] : words, bench.options);
  const [, stderr] = followOutputs(child);
  const id = await newWith("lasting");
  child.kill("SIGTERM");
  await once(child, "close");
  expect(stderr()).toContain(`error: interrupted by SIGTERM: ${id} may be left: it lasts`);
  expect(stderr()).toContain(`heyvm rm ${id}`);
  expect(child.exitCode).toBe(143);
  await rm(join(bench.folder, "machines", id, "root", "lasting"));
  // The daemon may be at it by itself.
  await bench.daemon.call("DELETE", `/sandboxes/${id}`);
  await expect.poll(() => readdir(join(bench.folder, "machines"))).toEqual([]);
});

test("Ctrl-C during start waits until the machine is off again, and leaves with 130", async () => {
  await using _held = await createHeld("web");
  const child = spawnCli(["start", "web"], bench.options);
  const [, stderr] = followOutputs(child);
  await expect.poll(stderr).toContain("Waiting for the guest");
  await interruptHeld(child, "SIGINT", "GET /sandboxes/web?settled=true");
  expect(child.exitCode).toBe(130);
  expect(await statusOf("web")).toBe("stopped");
});

test("an interruption of several sandboxes leaves with the signal's code, too", async () => {
  await using _held = await createHeld("web", "other");
  const child = spawnCli(["start", "web", "other"], bench.options);
  const [, stderr] = followOutputs(child);
  for (const name of ["web", "other"]) {
    await expect.poll(stderr).toContain(`${name}: Waiting for the guest`);
  }
  child.kill("SIGTERM");
  await once(child, "close");
  expect(stderr()).toMatch(/^error: interrupted by SIGTERM$/m);
  expect(child.exitCode).toBe(143);
  for (const name of ["web", "other"]) expect(await statusOf(name)).toBe("stopped");
});

/** The id of the sandbox whose guest has that file, as soon as there is one. */
async function newWith(file: string): Promise<string> {
  const machines = join(bench.folder, "machines");
  const find = async (): Promise<string | undefined> =>
    (await readdir(machines)).find((id) => existsSync(join(machines, id, "root", file)));
  await expect.poll(find).toBeDefined();
  return (await find()) ?? "";
}

/** Interrupts while the daemon is held, so that what is waited for cannot have come: it goes on when it has been asked. */
async function interruptHeld(child: ChildProcess, signal: NodeJS.Signals, request: string): Promise<void> {
  bench.requests.splice(0);
  process.kill(bench.daemon.pid, "SIGSTOP");
  try {
    child.kill(signal);
    await expect.poll(() => bench.requests).toContain(request);
    expect(child.exitCode).toBeNull();
  } finally {
    process.kill(bench.daemon.pid, "SIGCONT");
  }
  await once(child, "close");
}

/** Makes sandboxes that are off, and whose start gets no further than the guest's connection. */
async function createHeld(...names: string[]): Promise<AsyncDisposable & { ids: string[] }> {
  const hold = join(bench.folder, "hold-guests");
  const ids: string[] = [];
  for (const name of names) {
    const { id } = await bench.create(name);
    await bench.daemon.call("POST", `/sandboxes/${id}/kill`);
    ids.push(id);
  }
  await writeFile(hold, "");
  return {
    ids,
    async [Symbol.asyncDispose]() {
      await rm(hold);
      for (const id of ids) await bench.daemon.call("DELETE", `/sandboxes/${id}`);
    },
  };
}

async function statusOf(name: string): Promise<string> {
  return (await bench.daemon.call("GET", `/sandboxes/${name}`)).json.status;
}
