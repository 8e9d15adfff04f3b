import { execFile } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
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
      const agent = guestFiles().filter(({ path }) => path.endsWith(".py"));
      process.stdout.write(JSON.stringify(agent));
    `;
    const argv = ["--import", "tsx", "--input-type=module", "--eval", program];
    const { stdout } = await promisify(execFile)(process.execPath, argv, { cwd: root, maxBuffer: 2 ** 24 });
    const names = await readdir(join(root, "guest/heyvm_agent"));
    const modules = names.filter((name) => name.endsWith(".py")).map((name) => `heyvm_agent/${name}`);
    const wanted = ["agent.py", ...modules.toSorted()].map(async (name) => ({
      path: `/usr/local/lib/heyvm/${name}`,
      mode: 0o644,
      content: await readFile(join(root, "guest", name), "utf8"),
    }));
    expect(JSON.parse(stdout)).toEqual(await Promise.all(wanted));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
