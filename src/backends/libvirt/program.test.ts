import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

import { afterEach, expect, onTestFinished, test, vi } from "vitest";

import { findProgram, programVersion, runHostProgram } from "./program.ts";

afterEach(() => void vi.unstubAllEnvs());

test("a program is looked up in PATH, but not where that leads from the current folder", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hv-program-"));
  onTestFinished(async () => await rm(folder, { recursive: true }));
  await writeFile(join(folder, "heyvm-test-program"), "");
  await chmod(join(folder, "heyvm-test-program"), 0o755);
  vi.stubEnv("PATH", folder);
  expect(await findProgram("heyvm-test-program")).toBe(join(folder, "heyvm-test-program"));
  vi.stubEnv("PATH", relative(process.cwd(), folder));
  expect(await findProgram("heyvm-test-program")).toBeUndefined();
});

test("a program that is given up has ended when the call says so", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hv-program-"));
  onTestFinished(async () => await rm(folder, { recursive: true }));
  const script = `trap "" TERM; echo $$ > new; mv new pid; exec sleep 600`;
  const pidOf = async () => Number(await readFile(join(folder, "pid"), "utf8"));
  const givenUp = new AbortController();
  const options = { signal: givenUp.signal, timeoutMs: 150_000, cwd: folder };
  const ended = runHostProgram("/bin/sh", ["-c", script], options).catch(async (error: unknown) => {
    return { error, alive: isAlive(await pidOf()) };
  });
  await vi.waitFor(pidOf, 60_000);
  givenUp.abort(new Error("Ctrl-C"));
  expect(await ended).toMatchObject({ error: { code: "aborted" }, alive: false });
});

test("what a program had printed when it was given up is not taken for all of it", async () => {
  const givenUp = new AbortController();
  // It has ended well; somebody else still holds its output.
  const args = ["-c", "echo first; sleep 2 & exit 0"];
  const ended = runHostProgram("/bin/sh", args, { signal: givenUp.signal, timeoutMs: 150_000 });
  setTimeout(() => givenUp.abort(new Error("Ctrl-C")), 300);
  await expect(ended).rejects.toMatchObject({ code: "aborted" });
});

test("a program is asked for its version once, and again when it is another one", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hv-program-"));
  onTestFinished(async () => await rm(folder, { recursive: true }));
  const [program, asked] = [join(folder, "emulator"), join(folder, "asked")];
  const install = async (text: string) => {
    await writeFile(program, `#!/bin/sh\necho "$@" >> ${asked}\n${text}\n`);
    await chmod(program, 0o755);
  };
  const ask = async () => await programVersion(program, AbortSignal.timeout(60_000));
  await install("echo first 1.0; echo more");
  expect([await ask(), await ask()]).toEqual(["first 1.0", "first 1.0"]);
  await install("echo other 2.0");
  expect([await ask(), await ask()]).toEqual(["other 2.0", "other 2.0"]);
  expect(await readFile(asked, "utf8")).toBe("--version\n--version\n");
  await install("exit 1");
  expect([await ask(), await ask()], "asked again: it may work the next time").toEqual([
    undefined,
    undefined,
  ]);
  expect((await readFile(asked, "utf8")).split("\n")).toHaveLength(5);
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
