import { execFile } from "node:child_process";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { cliEnvironment, mainPath, tsxLoader } from "./testing/run-cli.ts";

/** The loader of the tests does not start in such a folder, so it goes behind its back. */
async function runInRemovedFolder(...words: string[]): Promise<{ exitCode: unknown; stderr: string }> {
  const folder = await mkdtemp(join(tmpdir(), "hv-gone-"));
  const goAway = `import { rmdirSync } from "node:fs"; process.chdir(${JSON.stringify(folder)}); rmdirSync(${JSON.stringify(folder)});`;
  const preload = `data:text/javascript,${encodeURIComponent(goAway)}`;
  const args = ["--import", tsxLoader, "--import", preload, mainPath, ...words];
  return await new Promise((resolve) => {
    execFile(process.execPath, args, { env: cliEnvironment({}) }, (error, _stdout, stderr) =>
      resolve({ exitCode: error?.code, stderr }),
    );
  });
}

test.each([
  [["create", "--mount", ".:/workspace"]],
  [["images", "add", "mine", "./image.qcow2"]],
  [["create", "--image", "./image.qcow2"]],
])("%j in a folder that was removed says so", async (words) => {
  const { exitCode, stderr } = await runInRemovedFolder(...words);
  expect(stderr).toContain("the current folder does not exist any more");
  expect(stderr).toContain("hint: cd to one that does");
  expect(exitCode).toBe(3);
});
