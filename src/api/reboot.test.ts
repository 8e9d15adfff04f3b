/** Guests that reboot by themselves. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect, test } from "vitest";

import { startDaemon, testFolder } from "../daemon/testing/daemon-of-test.ts";
import type { TestDaemon } from "../daemon/testing/test-daemon.ts";

async function run(api: TestDaemon, command: string): Promise<string> {
  const { json } = await api.call("POST", "/sandboxes/box/execute", { command });
  return json.stdout ?? `${json.status}: ${json.detail}`;
}

const bootId = "cat /proc/sys/kernel/random/boot_id";

test("the start command of a guest that reboots begins again, and commands wait for it", async () => {
  const api = await startDaemon(await testFolder());
  await api.call("POST", "/sandboxes", {
    name: "box",
    start_command: "echo begun >> /root/begun; exec sleep 9999",
    env_vars: { A: "1" },
  });
  const before = await run(api, bootId);
  const cut = run(api, "touch /root/runs; exec sleep 9999");
  await expect.poll(async () => await run(api, "ls /root/runs")).toBe("/root/runs\n");
  await run(api, "touch /reboot");
  expect(await cut).toContain("the guest of box rebooted");
  // Nobody has to use it for that.
  const afterwards = async (): Promise<string> => await run(api, `${bootId}; cat /root/begun`);
  await expect.poll(afterwards).toMatch(/^.{36}\nbegun\nbegun\n$/);
  expect(await run(api, bootId)).not.toBe(before);
  const { json } = await api.call("GET", "/sandboxes/box");
  expect(json).toMatchObject({ status: "running", warnings: ["this is a test backend"] });
});

test("the next daemon begins it again if the guest has rebooted meanwhile, and only then", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  const { json } = await first.call("POST", "/sandboxes", {
    name: "box",
    start_command: "echo begun >> /root/begun",
  });
  await run(first, "touch /reboot");
  await expect.poll(async () => await run(first, "cat /root/begun")).toBe("begun\nbegun\n");
  await first.kill("SIGTERM");

  const second = await startDaemon(folder);
  expect(await run(second, "cat /root/begun")).toBe("begun\nbegun\n");
  await second.kill("SIGTERM");

  const path = join(folder, "sandboxes", json.id, "record.json");
  const record = JSON.parse(await readFile(path, "utf8"));
  await writeFile(path, JSON.stringify({ ...record, setUp: { ...record.setUp, bootId: "an earlier one" } }));
  const third = await startDaemon(folder);
  await expect.poll(async () => await run(third, "cat /root/begun")).toBe("begun\nbegun\nbegun\n");
});

test("a set-up that was cut off does not begin a start command twice", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  const { json } = await first.call("POST", "/sandboxes", {
    name: "box",
    start_command: "echo begun >> /root/begun; exec sleep 9999",
  });
  await expect.poll(async () => await run(first, "cat /root/begun")).toBe("begun\n");
  await first.kill("SIGKILL");
  const path = join(folder, "sandboxes", json.id, "record.json");
  const record = JSON.parse(await readFile(path, "utf8"));
  await writeFile(path, JSON.stringify({ ...record, setUp: { ...record.setUp, bootId: "an earlier one" } }));
  const second = await startDaemon(folder);
  await run(second, "true");
  // Written when the set-up has come to its end.
  const stored = async () => JSON.parse(await readFile(path, "utf8")).setUp.bootId;
  await expect.poll(stored).toBe(record.setUp.bootId);
  expect(await run(second, "cat /root/begun")).toBe("begun\n");
});

test("without its mounts the start command does not begin, until a restart", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  const { json } = await first.call("POST", "/sandboxes", {
    name: "box",
    start_command: "echo begun >> /root/begun",
  });
  await expect.poll(async () => await run(first, "cat /root/begun")).toBe("begun\n");
  await first.kill("SIGTERM");
  const path = join(folder, "sandboxes", json.id, "record.json");
  const record = JSON.parse(await readFile(path, "utf8"));
  const guestMounts = [{ tag: "nobody-serves-this", guestPath: "/root/m", readOnly: false }];
  await writeFile(path, JSON.stringify({ ...record, setUp: { bootId: "an earlier one", guestMounts } }));

  const second = await startDaemon(folder);
  expect(await run(second, "cat /root/begun")).toBe("begun\n");
  const warnings = async () => (await second.call("GET", "/sandboxes/box")).json.warnings;
  const refusal = "the guest rebooted, and its mounts could not be restored: its start command was not begun";
  await expect.poll(warnings).toContain(refusal);
  await second.call("POST", "/sandboxes/box/restart");
  expect(await warnings()).not.toContain(refusal);
  await expect.poll(async () => await run(second, "cat /root/begun")).toBe("begun\nbegun\n");
});
