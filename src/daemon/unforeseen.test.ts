import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";

import { startDaemon } from "./testing/daemon-of-test.ts";
import type { TestDaemon } from "./testing/test-daemon.ts";

/** As soon as the daemon that has begun anew answers. */
async function restartReason(api: TestDaemon): Promise<unknown> {
  return await api.call("GET", "/health").then(
    ({ json }) => json.restart_reason,
    () => undefined,
  );
}

test("an error that nobody caught has the daemon begin anew, once; its sandboxes go on and say so", async () => {
  const api = await startDaemon();
  const { id } = (await api.call("POST", "/sandboxes", { name: "box" })).json;
  const command = { command: "sleep 4712 >/dev/null 2>&1 & echo $!" };
  const pid = (await api.call("POST", "/sandboxes/box/execute", command)).json.stdout.trim();
  process.kill(api.pid, "SIGUSR2");
  const notice = expect.stringMatching(/^the daemon began anew at .*: nobody foresaw this$/);
  await expect.poll(async () => await restartReason(api)).toEqual(notice);

  const box = (await api.call("GET", "/sandboxes/box")).json;
  expect(box).toMatchObject({ id, status: "running", warnings: expect.arrayContaining([notice]) });
  const check = { command: `kill -0 ${pid} && echo there` };
  expect((await api.call("POST", "/sandboxes/box/execute", check)).json.stdout).toBe("there\n");
  const { json: later } = await api.call("POST", "/sandboxes", { name: "later" });
  expect(later.warnings).not.toContainEqual(notice);

  process.kill(api.pid, "SIGUSR2");
  expect(await api.exited).toBe(1);
  const log = await readFile(join(api.folder, "daemon.log"), "utf8");
  expect(log).toMatch(/"stack":"Error: nobody foresaw this.*something failed that nobody foresaw/);
});

test("a rejection that nobody handled is the same", async () => {
  const api = await startDaemon();
  process.kill(api.pid, "SIGURG");
  await expect.poll(async () => await restartReason(api)).toEqual(expect.stringContaining("a promise"));
  expect((await api.call("GET", "/sandboxes")).json).toEqual([]);
});
