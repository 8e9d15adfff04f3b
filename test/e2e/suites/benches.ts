import { fileURLToPath } from "node:url";
import { expect, test, type TestOptions } from "vitest";

import type { TestHost } from "../../fixtures/host.ts";

/** The scripts under `bench/` that need clones, at their smallest setting: each figure of the docs can be made again. */
export function benchSuite(host: () => TestHost): void {
  test.each([
    ["agent-pipe.ts"],
    ["libvirt-rpc.ts", "1"],
    ["many-alive.ts", "debian:12", "2"],
    ["create-breakdown.ts", "debian:12", "1"],
    ["exec-beside-ssh.ts", "1"],
    ["copy-beside-scp.ts", "1M", "1"],
    ["clone-path.ts", "debian:12", "1", "1"],
  ])("bench/%s prints its figures", benchOptions, async (script, ...args) => {
    expect(await runBench(host(), script, ...args)).toMatch(/\d/);
  });
}

/**
 * The longest makes a template and boots a stock image, or makes a prepared disk and boots twice: six minutes on a machine of
 * usual speed, and over ten on one of half that speed. heyvm itself gives such a preparation 20 minutes.
 */
const benchTimeoutMs = 1_500_000;

/** For a test that runs a script. */
export const benchOptions: TestOptions = { timeout: benchTimeoutMs + 60_000 };

/** What a script printed. */
export async function runBench(host: TestHost, script: string, ...args: string[]): Promise<string> {
  const loader = fileURLToPath(import.meta.resolve("tsx"));
  const path = fileURLToPath(new URL(`../../../bench/${script}`, import.meta.url));
  const command = [process.execPath, "--import", loader, path, ...args];
  // Its cache would be left in the host's temporary folder.
  const { code, stdout, stderr } = await host.run(command, {
    env: { TSX_DISABLE_CACHE: "1" },
    timeoutMs: benchTimeoutMs,
  });
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}
