import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect, test } from "vitest";

import { agentSourcePath } from "./agent-source.ts";

test("a program whose installation is gone still has the agent that it came with", async () => {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-gone-"));
  try {
    const root = join(agentSourcePath(), "../..");
    for (const part of ["src", "guest", "package.json", "tsconfig.json"]) {
      await cp(join(root, part), join(folder, part), { recursive: true });
    }
    const program = `
      import { rmSync } from "node:fs";
      const { guestFiles } = await import(${JSON.stringify(join(folder, "src/backends/guest/guest-files.ts"))});
      rmSync(${JSON.stringify(folder)}, { recursive: true });
      const agent = guestFiles().find(({ path }) => path.endsWith("/heyvm_agent.py"));
      process.stdout.write(agent.content);
    `;
    const argv = ["--import", "tsx", "--input-type=module", "--eval", program];
    const { stdout } = await promisify(execFile)(process.execPath, argv, { cwd: root, maxBuffer: 2 ** 24 });
    expect(stdout).toBe(await readFile(agentSourcePath(), "utf8"));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
