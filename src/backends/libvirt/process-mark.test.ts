import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";

import { isAlive, markOfThisProcess } from "./process-mark.ts";

test.each([true, false])(
  "this process lives; a later one with its id is another (own: %s)",
  async (isOwn) => {
    const mark = await markOfThisProcess();
    expect(await isAlive(mark, isOwn)).toBe(true);
    expect(await isAlive({ ...mark, startTicks: "1" }, isOwn)).toBe(false);
  },
);

test("a process of this state folder ended with the boot that it was of, and under the host's name of then", async () => {
  const mark = await markOfThisProcess();
  expect(await isAlive({ ...mark, host: "old-name", bootId: "another" }, true)).toBe(false);
  expect(await isAlive({ ...mark, host: "old-name", startTicks: "1" }, true)).toBe(false);
  expect(await isAlive({ ...mark, host: "old-name" }, true)).toBe(true);
});

test("another state folder's process counts as alive where it cannot be seen, also on a host of the same name", async () => {
  const mark = await markOfThisProcess();
  expect(await isAlive({ ...mark, bootId: "another", startTicks: "1" }, false)).toBe(true);
  expect(await isAlive({ ...mark, host: "another", startTicks: "1" }, false)).toBe(true);
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
    expect(await isAlive(mark, true)).toBe(true);
    await expect.poll(async () => await readFile(`/proc/${parent.pid}/comm`, "utf8")).toBe("sleep\n");
    process.kill(pid, "SIGKILL");
    await expect.poll(async () => (await stat())[0]).toBe("Z");
    expect(await isAlive(mark, true)).toBe(false);
  } finally {
    parent.kill("SIGKILL");
  }
});
