import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { beforeEach, expect, onTestFinished, test, vi } from "vitest";

import { lockForProcess, tryLockForProcess } from "./process-lock.ts";

const holderScript = fileURLToPath(new URL("testing/lock-holder.ts", import.meta.url));
const isRoot = process.geteuid?.() === 0;
const what = "the work";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hv-lock-"));
  onTestFinished(async () => await rm(folder, { recursive: true, force: true }));
});

const patience = (): AbortSignal => AbortSignal.timeout(60_000);

/** Another process that has the lock `work`. */
async function startHolder(become: readonly string[] = []): Promise<ChildProcess & { pid: number }> {
  const command = [process.execPath, "--import", "tsx", holderScript, folder, "work"];
  const [file = "", ...args] = become.concat(command);
  const holder = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  const { pid } = holder;
  if (pid === undefined || holder.stdout === null) throw new Error("the holder did not start");
  const [line] = await once(createInterface({ input: holder.stdout }), "line", { signal: patience() });
  const { childPid } = JSON.parse(String(line));
  onTestFinished(() => {
    holder.kill("SIGKILL");
    // In a namespace of its own it has gone with the holder, and the number is not its own here.
    if (!become.includes("--pid")) process.kill(childPid, "SIGKILL");
  });
  return Object.assign(holder, { pid });
}

test("a lock is one process's until that lets go of it, and leaves nothing", async () => {
  const lock = await tryLockForProcess(folder, "work");
  expect(lock).toBeDefined();
  expect(await tryLockForProcess(folder, "work")).toBeUndefined();
  const other = await tryLockForProcess(folder, "other work");
  expect(other).toBeDefined();
  await lock?.[Symbol.asyncDispose]();
  const again = await tryLockForProcess(folder, "work");
  expect(again).toBeDefined();
  await again?.[Symbol.asyncDispose]();
  await other?.[Symbol.asyncDispose]();
  expect(await readdir(folder)).toEqual([]);
});

test("of many who wait one has it at a time, and each gets it", async () => {
  let holders = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    const { lock } = await lockForProcess({ folder, name: "work", what, signal: patience() });
    holders += 1;
    most = Math.max(most, holders);
    await new Promise((resolve) => setImmediate(resolve));
    holders -= 1;
    await lock[Symbol.asyncDispose]();
  };
  await Promise.all(Array.from({ length: 12 }, work));
  expect(most).toBe(1);
  expect(await readdir(folder)).toEqual([]);
});

test("who waits is told how far the work is, and has the lock when its process is killed, though a child of it lives", async () => {
  const holder = await startHolder();
  const states: unknown[] = [];
  const waiting = lockForProcess({
    folder,
    name: "work",
    what,
    signal: patience(),
    onState: (state) => states.push(state),
  });
  await expect.poll(() => states).toEqual([{ step: 7 }]);
  holder.kill("SIGKILL");
  const { lock, waited } = await waiting;
  expect(waited).toBe(true);
  await lock[Symbol.asyncDispose]();
});

test("who waits can leave", async () => {
  await using lock = await tryLockForProcess(folder, "work");
  lock?.tell({ step: 1 });
  const leaving = new AbortController();
  const states: unknown[] = [];
  const waiting = lockForProcess({
    folder,
    name: "work",
    what,
    signal: leaving.signal,
    onState: (state) => {
      states.push(state);
      leaving.abort();
    },
  });
  await expect(waiting).rejects.toMatchObject({ code: "aborted", message: expect.stringContaining(what) });
  expect(states).toEqual([{ step: 1 }]);
});

test("a holder that does nothing any more is named", async () => {
  const holder = await startHolder();
  process.kill(holder.pid, "SIGSTOP");
  const waiting = lockForProcess({ folder, name: "work", what, signal: patience(), silentMs: 500 });
  await expect(waiting).rejects.toMatchObject({
    code: "timeout",
    message: expect.stringContaining(`process ${holder.pid} does the work`),
    hint: expect.stringContaining(`kill ${holder.pid}`),
  });
});

test.runIf(isRoot)("another network namespace has the same locks", async () => {
  await startHolder(["unshare", "--net", "--"]);
  expect(await tryLockForProcess(folder, "work")).toBeUndefined();
});

test("a link in the lock's place is not followed", async () => {
  const lock = await tryLockForProcess(folder, "work");
  const [name = ""] = await readdir(folder);
  await lock?.[Symbol.asyncDispose]();
  await writeFile(join(folder, "precious"), "kept");
  await symlink("precious", join(folder, name));
  await expect(tryLockForProcess(folder, "work")).rejects.toMatchObject({
    code: "permission_denied",
    message: expect.stringContaining("it is no file"),
  });
});

test.runIf(isRoot)(
  "a silent holder in another container is told as such: its number means another process here",
  async () => {
    await startHolder(["unshare", "--pid", "--fork", "--kill-child", "--"]);
    const path = join(folder, (await readdir(folder))[0] ?? "");
    const waiting = lockForProcess({ folder, name: "work", what, signal: patience(), silentMs: 0 });
    await expect(waiting).rejects.toMatchObject({
      code: "timeout",
      message: expect.stringContaining("another container does the work"),
      hint: expect.not.stringContaining("kill"),
    });
    expect(await readFile(path, "utf8")).toContain("pid_namespace");
  },
);

test("the program is found without a PATH", async () => {
  vi.stubEnv("PATH", "");
  onTestFinished(() => void vi.unstubAllEnvs());
  await using lock = await tryLockForProcess(folder, "work");
  expect(lock).toBeDefined();
});
