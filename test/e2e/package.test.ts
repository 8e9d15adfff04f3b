/** What `npm publish` would publish, used as somebody does who has never seen the checkout. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

import { createTestHost } from "../fixtures/host.ts";

const run = promisify(execFile);
const checkout = fileURLToPath(new URL("../..", import.meta.url));
const registryTimeoutMs = 20_000;

async function reachesRegistry(): Promise<boolean> {
  return run("npm", ["ping"], { timeout: registryTimeoutMs }).then(
    () => true,
    () => false,
  );
}

test("the package installs elsewhere, as a program with its daemon and as a library", async (task) => {
  task.skip(!(await reachesRegistry()), "npm cannot reach its registry");
  // npm's own notes on what it did.
  await using host = await createTestHost({ permits: [/^home\/(app|\.npm)\//] });
  const app = join(host.paths.home, "app");
  // The host has built dist/; building it again, under the feet of others, is what `prepack` would do.
  const pack = ["pack", "--ignore-scripts", "--silent", "--pack-destination", host.paths.root];
  const { stdout: archive } = await run("npm", pack, { cwd: checkout });
  const quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"];
  // By whoever runs the tests, who has most of it in npm's cache already.
  await run("npm", ["install", "--prefix", app, ...quiet, join(host.paths.root, archive.trim())]);

  const { version }: { version: string } = JSON.parse(await readFile(join(checkout, "package.json"), "utf8"));
  const inApp = async (...argv: string[]): Promise<string> => {
    const { code, stdout, stderr } = await host.run(argv, { cwd: app });
    expect({ argv, code, stderr: code === 0 ? "" : stderr }).toEqual({ argv, code: 0, stderr: "" });
    return stdout;
  };
  expect(await inApp("npx", "--no", "heyvm", "--", "--version")).toBe(`${version}\n`);
  expect(await inApp("npx", "--no", "heyvm", "--", "backends")).toMatch(/^libvirt/m);
  const program = `
    const [{ Heyvm }, { connectLibvirt }] = [await import("heyvm"), await import("heyvm/libvirt")];
    const heyvm = await Heyvm.connect();
    console.log((await heyvm.sandboxes.list()).length, typeof connectLibvirt);
    heyvm[Symbol.dispose]();
  `;
  expect(await inApp("node", "--input-type=module", "-e", program)).toBe("0 function\n");
});
