import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

import { leftoversIn } from "./run-census.ts";

test("files and processes that a run leaves are told, whoever their parent is; others are not", async () => {
  const place = await mkdtemp(join(tmpdir(), "hv-"));
  // Its parent leaves at once, as a daemon's does.
  const hasBegun = "until grep -q ^sleep /proc/$!/cmdline; do sleep 0.05; done";
  const script = `sleep 4321 >/dev/null 2>&1 & ${hasBegun}; echo $!`;
  const start = async (env: NodeJS.ProcessEnv): Promise<number> => {
    const shell = spawn("sh", ["-c", script], { env: { PATH: process.env["PATH"], ...env } });
    const [pid] = await once(shell.stdout, "data");
    return Number(String(pid));
  };
  const left = await start({ TMPDIR: place });
  const other = await start({ TMPDIR: `${place}-of-others` });
  try {
    await writeFile(join(place, "state.json"), "");
    await mkdir(join(place, "tsx-0"));
    expect(await leftoversIn(place, 0)).toEqual([
      `process ${left}: sleep 4321`,
      `file: ${join(place, "state.json")}`,
    ]);
  } finally {
    process.kill(left);
    process.kill(other);
    await rm(place, { recursive: true });
  }
});
