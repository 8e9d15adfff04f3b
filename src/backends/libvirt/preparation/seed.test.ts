import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

import { findIsoTool, makeSeedIso, seedFiles } from "./seed.ts";

const { signal } = new AbortController();

test("the first boot's commands put a file in place with its content and mode", async () => {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-seed-test-"));
  try {
    const path = join(folder, "deep", "it's a file");
    const content = `#!/bin/sh\necho "$HOME" 'x' \\ \u00e9\n`;
    const userData = seedFiles("i", [{ path, mode: 0o755, content }])["user-data"] ?? "";
    expect(userData.startsWith("#cloud-config\n")).toBe(true);
    // JSON is YAML: cloud-init reads the same.
    const config: { bootcmd: string[][] } = JSON.parse(userData.slice("#cloud-config\n".length));
    const [program = "", ...args] = config.bootcmd[0] ?? [];
    await promisify(execFile)(program, args);
    expect(await readFile(path, "utf8")).toBe(content);
    expect((await stat(path)).mode & 0o777).toBe(0o755);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.skipIf((await findIsoTool()) === undefined)(
  "the seed is an ISO image with the label that cloud-init looks for",
  async () => {
    const iso = await makeSeedIso(seedFiles("i-1", []), signal);
    expect(iso.subarray(32_769, 32_774).toString()).toBe("CD001");
    expect(iso.subarray(32_808, 32_840).toString().trim()).toBe("cidata");
    expect(iso.includes("#cloud-config")).toBe(true);
  },
);

test("without a program to make ISO images, the error says what to install", async () => {
  const path = process.env["PATH"];
  const folder = await mkdtemp(join(tmpdir(), "heyvm-seed-test-"));
  await writeFile(join(folder, "unrelated"), "");
  process.env["PATH"] = folder;
  try {
    await expect(makeSeedIso({}, signal)).rejects.toMatchObject({
      code: "backend_unavailable",
      hint: expect.stringContaining("xorriso"),
    });
  } finally {
    process.env["PATH"] = path;
    await rm(folder, { recursive: true });
  }
});
