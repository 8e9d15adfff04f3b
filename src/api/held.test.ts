/** Machines that their host holds because it has no room for what they write, and such as cannot be removed. */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";

import { expect, test } from "vitest";

import { startDaemon } from "../daemon/testing/daemon-of-test.ts";

test("its commands end with the reason, and it goes on when there is room", async () => {
  const api = await startDaemon();
  const { json: made } = await api.call("POST", "/sandboxes", {
    name: "box",
    start_command: "echo $$ > /root/pid; exec sleep 9999",
  });
  const root = join(api.folder, "machines", made.id, "root");
  await expect.poll(async () => await readFile(join(root, "root/pid"), "utf8").catch(() => "")).not.toBe("");
  const run = async (command: string) => (await api.call("POST", "/sandboxes/box/execute", { command })).json;
  const state = async () => (await api.call("GET", "/sandboxes/box")).json;

  expect(await run("touch /held; sleep 9999")).toMatchObject({
    code: "disk_full",
    hint: expect.stringContaining(`heyvm resume ${made.id}`),
  });
  await expect.poll(state).toMatchObject({
    status: "paused",
    error_message: expect.stringContaining(`heyvm resume ${made.id}`),
  });
  // Also to who comes later, and has not seen it end.
  expect(await run("true")).toMatchObject({
    code: "wrong_state",
    hint: `heyvm resume ${made.id}`,
    detail: expect.stringContaining((await state()).error_message),
  });
  // It may have gone on for a moment: the write is tried again.
  await api.call("POST", "/sandboxes/box/resume");
  await expect.poll(state).toMatchObject({ status: "paused" });

  await rm(join(root, "held"));
  expect((await api.call("POST", "/sandboxes/box/resume")).json).toMatchObject({ status: "running" });
  expect((await state()).error_message ?? null).toBeNull();
  expect(await run("kill -0 $(cat /root/pid) && echo goes on")).toMatchObject({ stdout: "goes on\n" });
});

test("a removal that failed is done by the daemon itself, later", async () => {
  const api = await startDaemon();
  const { json: made } = await api.call("POST", "/sandboxes", { name: "box" });
  await api.call("POST", "/sandboxes/box/execute", { command: "touch /lasting" });
  expect((await api.call("DELETE", "/sandboxes/box")).json).toMatchObject({ detail: "it lasts" });
  await rm(join(api.folder, "machines", made.id, "root/lasting"));
  const all = async () => (await api.call("GET", "/sandboxes?all=true")).json;
  expect(await all()).toHaveLength(1);
  expect((await api.call("POST", "/sandboxes/box/restart")).json).toMatchObject({
    detail: "sandbox box is being removed",
  });
  await expect.poll(all, { timeout: 120_000, interval: 1000 }).toEqual([]);
});

test("a create whose guest is held fails with the reason, and nothing is left", async () => {
  const api = await startDaemon();
  const { json } = await api.call("POST", "/sandboxes", { setup_hooks: ["touch /held; sleep 600"] });
  expect(json).toMatchObject({ code: "disk_full", detail: expect.stringContaining("could not write") });
  expect((await api.call("GET", "/sandboxes?all=true")).json).toEqual([]);
  expect(await readdir(join(api.folder, "machines"))).toEqual([]);
});
