/** A state folder on a disk without any room. */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect, onTestFinished, test } from "vitest";

import { killAllMachines } from "../sandbox/testing/machine-processes.ts";
import { startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;

/** A state folder on a small disk. */
async function smallFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hv-"));
  await run("mount", ["-t", "tmpfs", "-o", "size=1m,mode=0700", "heyvm-test", folder]);
  onTestFinished(async () => {
    await killAllMachines(join(folder, "machines"));
    await run("umount", ["--lazy", folder]);
    await rm(folder, { recursive: true });
  });
  return folder;
}

/** Leaves no room. */
async function fill(folder: string): Promise<void> {
  await writeFile(join(folder, "filler"), Buffer.alloc(2 ** 21)).catch(() => undefined);
}

async function start(folder: string): Promise<TestDaemon> {
  const daemon = await startTestDaemon(folder, {});
  onTestFinished(async () => await daemon[Symbol.asyncDispose]());
  return daemon;
}

async function make(api: TestDaemon, name: string, more: object = {}): Promise<string> {
  const { json } = await api.call("POST", "/sandboxes", { name, ...more });
  return json.id;
}

test.runIf(isRoot)("a daemon on a full disk starts, lists, stops, removes and prunes", async () => {
  const folder = await smallFolder();
  const first = await start(folder);
  for (const name of ["one", "two", "three"]) await make(first, name);
  const late = await make(first, "late", { ttl_seconds: 3600 });
  await fill(folder);
  await first.kill("SIGKILL");
  const path = join(folder, "sandboxes", late, "record.json");
  const record = (await readFile(path, "utf8")).replace(/"expiresAtMs": \d+/, '"expiresAtMs": 1000000000000');
  await writeFile(path, record, { flag: "r+" });
  await fill(folder);

  const api = await start(folder);
  expect(api.info).toMatchObject({ pid: api.pid });
  const names = async () =>
    (await api.call("GET", "/sandboxes?all=true")).json.map(({ name }: { name: string }) => name);
  await expect.poll(names).toEqual(["one", "two", "three"]);
  // That of the daemon before would lead to whatever has its process id now.
  expect(await readdir(folder)).not.toContain("daemon.json");
  await fill(folder);
  expect((await api.call("POST", "/sandboxes", { name: "four" })).json).toMatchObject({ code: "disk_full" });
  expect((await api.call("POST", "/sandboxes/one/execute", { command: "echo 1" })).json.stdout).toBe("1\n");
  expect((await api.call("POST", "/sandboxes/two/stop")).json).toMatchObject({ status: "stopped" });
  expect((await api.call("DELETE", "/sandboxes/one")).status).toBe(200);
  expect((await api.call("POST", "/prune", {})).status).toBe(200);
  expect(await names()).toEqual(["two", "three"]);
});
