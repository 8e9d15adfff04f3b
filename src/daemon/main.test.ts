import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

import { expect, test } from "vitest";

import { startDaemon, testFolder } from "./testing/daemon-of-test.ts";

const main = fileURLToPath(new URL("main.ts", import.meta.url));

/** The daemon of that state folder, as a client starts it: how it ended, and what it said. */
async function serve(folder: string): Promise<{ exitCode: unknown; output: string }> {
  const env = { ...process.env, MVM_DATA_DIR: folder, HEYVM_SOCKET: join(folder, "heyvm.sock") };
  const child = spawn(process.execPath, ["--import", "tsx", main], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = once(child, "exit");
  const [said, complained] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [exitCode] = await exited;
  return { exitCode, output: said + complained };
}

test("one that comes second leaves without a word, and the first goes on", async () => {
  const first = await startDaemon();
  expect(await serve(first.folder)).toEqual({ exitCode: 0, output: "" });
  expect((await first.call("GET", "/health")).json).toMatchObject({ pid: first.pid });
});

test("one that cannot serve says why in one line, and leaves nothing", async () => {
  const folder = await testFolder();
  await writeFile(join(folder, "settings.json"), '{ "cpus": "many" }');
  const { exitCode, output } = await serve(folder);
  expect(exitCode).toBe(2);
  expect(output).toMatch(/^\{"error":".*\}\n$/);
  expect(JSON.parse(output)).toMatchObject({
    code: "settings_invalid",
    error: expect.stringContaining(join(folder, "settings.json")),
  });
  expect(await readdir(folder)).toEqual(["settings.json"]);
});

test("a socket's place that is taken is told, and what is there stays", async () => {
  const folder = await testFolder();
  await mkdir(join(folder, "heyvm.sock"));
  const { exitCode, output } = await serve(folder);
  expect(exitCode).toBe(1);
  expect(JSON.parse(output)).toMatchObject({
    code: "daemon_unavailable",
    hint: expect.stringContaining("HEYVM_SOCKET"),
  });
  expect(await readdir(folder)).toContain("heyvm.sock");
});
