import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

import { afterEach, expect, onTestFinished, test, vi } from "vitest";

import { findProgram } from "./program.ts";

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
