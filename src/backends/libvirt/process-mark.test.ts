import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";

import { isAlive, markOfThisProcess } from "./process-mark.ts";

test("this process lives; a later one with its id, or of another boot, is another; another host's counts as alive", async () => {
  const mark = await markOfThisProcess();
  expect(await isAlive(mark)).toBe(true);
  expect(await isAlive({ ...mark, startTicks: "1" })).toBe(false);
  expect(await isAlive({ ...mark, bootId: "another" })).toBe(false);
  expect(await isAlive({ ...mark, host: "another", startTicks: "1" })).toBe(true);
});

test("a process that has ended is dead, also while its parent does not reap it", async () => {
  // The shell becomes a program that reaps nobody.
  const script = "sleep 1234 & echo $!; exec sleep 1234";
  const parent = spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [line] = await once(parent.stdout, "data");
    const pid = Number(String(line));
    const stat = async () => (await readFile(`/proc/${pid}/stat`, "utf8")).replace(/^.*\) /, "").split(" ");
    const mark = { ...(await markOfThisProcess()), pid, startTicks: (await stat())[19] ?? "" };
    expect(await isAlive(mark)).toBe(true);
    await expect.poll(async () => await readFile(`/proc/${parent.pid}/comm`, "utf8")).toBe("sleep\n");
    process.kill(pid, "SIGKILL");
    await expect.poll(async () => (await stat())[0]).toBe("Z");
    expect(await isAlive(mark)).toBe(false);
  } finally {
    parent.kill("SIGKILL");
  }
});
