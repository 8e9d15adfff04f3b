/** Images and the sandboxes on them, also while their backend is away or gone for good. */
import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect, test } from "vitest";

import { awaySuffix } from "../sandbox/testing/process-backend.ts";
import { startDaemon, testFolder } from "../daemon/testing/daemon-of-test.ts";

test("an image goes when no sandbox stands on it, not even one whose backend cannot be had any more", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  const { id } = (await first.call("POST", "/sandboxes", { name: "box" })).json;
  await first.call("POST", "/sandboxes/box/stop", { grace_seconds: 0 });
  await first.kill("SIGTERM");
  const path = join(folder, "sandboxes", id, "record.json");
  const record = JSON.parse(await readFile(path, "utf8"));
  await writeFile(path, JSON.stringify({ ...record, spec: { ...record.spec, backend: "gone" } }));

  const second = await startDaemon(folder);
  const remove = async () => await second.call("DELETE", "/images/ubuntu:24.04");
  expect(await remove()).toMatchObject({ status: 409, json: { code: "image_in_use" } });
  await second.kill("SIGTERM");
  await writeFile(path, JSON.stringify(record));

  const third = await startDaemon(folder);
  await third.call("DELETE", "/sandboxes/box");
  expect(await third.call("DELETE", "/images/ubuntu:24.04")).toMatchObject({ status: 200 });
});

test("a sandbox whose backend is gone for good can be forgotten as its removal says, and its image goes then", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  const { id } = (await first.call("POST", "/sandboxes", { name: "box" })).json;
  const away = join(folder, `machines${awaySuffix}`);
  await writeFile(away, "");
  expect(await first.call("DELETE", "/sandboxes/box")).toMatchObject({
    status: 503,
    json: {
      code: "backend_unavailable",
      detail: expect.stringMatching(/box cannot be removed yet.*it is away/),
      hint: `bring it back; if libvirt is gone for good: heyvm rm --forget ${id}`,
    },
  });
  expect(await first.call("DELETE", "/sandboxes/box?forget=true")).toMatchObject({
    status: 200,
    json: { id, name: "box", removed: true, forgotten: true },
  });
  expect((await first.call("GET", "/sandboxes?all=true")).json).toEqual([]);
  expect(await first.call("DELETE", "/images/ubuntu:24.04")).toMatchObject({ status: 200 });
  await first.kill("SIGTERM");

  // It was not gone after all: what nobody knows is removed.
  await rm(away);
  await startDaemon(folder);
  expect(existsSync(join(folder, "machines", id))).toBe(false);
});

test("one whose backend is there is removed whole, whether it may be forgotten or not", async () => {
  const folder = await testFolder();
  const api = await startDaemon(folder);
  const { id } = (await api.call("POST", "/sandboxes", { name: "box" })).json;
  expect((await api.call("DELETE", "/sandboxes/box?forget=true")).json).toEqual({
    id,
    name: expect.any(String),
    removed: true,
  });
  expect(existsSync(join(folder, "machines", id))).toBe(false);
});

test("no image goes while a backend that has sandboxes cannot be asked what stands on it", async () => {
  const folder = await testFolder();
  const api = await startDaemon(folder);
  const away = join(folder, `machines${awaySuffix}`);
  const remove = async () => await api.call("DELETE", "/images/another");

  // One that has none is no obstacle.
  await writeFile(away, "");
  expect(await remove()).toMatchObject({ status: 200 });
  await rm(away);

  await api.call("POST", "/sandboxes", { name: "box" });
  expect(await remove()).toMatchObject({ status: 200 });
  await writeFile(away, "");
  const refused = {
    status: 503,
    json: {
      code: "backend_unavailable",
      detail: expect.stringMatching(/libvirt.*has sandboxes \(box\).*it is away/),
      hint: "bring it back; if libvirt is gone for good: heyvm rm --forget box",
    },
  };
  expect(await remove()).toMatchObject(refused);
  expect(await api.call("POST", "/images/prune", {})).toMatchObject(refused);
  expect(await api.call("GET", "/images")).toMatchObject({ status: 200, json: [{ in_use: true }] });
  await rm(away);
  expect(await remove()).toMatchObject({ status: 200 });
  await api.call("DELETE", "/sandboxes/box");
  await writeFile(away, "");
  expect(await remove()).toMatchObject({ status: 200 });
});

test("one whose record is damaged is not given up, nor is an image, while a backend is away that may have it", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  const { id } = (await first.call("POST", "/sandboxes", { name: "box" })).json;
  await first.kill("SIGKILL");
  await writeFile(join(folder, "sandboxes", id, "record.json"), "{");
  const away = join(folder, `machines${awaySuffix}`);
  await writeFile(away, "");
  const second = await startDaemon(folder);
  const refused = { status: 503, json: { code: "backend_unavailable" } };
  expect(await second.call("DELETE", "/images/another")).toMatchObject(refused);
  expect(await second.call("DELETE", `/sandboxes/${id}`)).toMatchObject({
    ...refused,
    json: { hint: `bring it back; if libvirt is gone for good: heyvm rm --forget ${id}` },
  });
  await rm(away);
  expect((await second.call("DELETE", `/sandboxes/${id}`)).json).toEqual({
    id,
    name: expect.any(String),
    removed: true,
  });
  expect(existsSync(join(folder, "machines", id))).toBe(false);
  expect(await second.call("DELETE", "/images/another")).toMatchObject({ status: 200 });
});

test("one whose record is damaged can be forgotten as its removal says, and nothing waits for it then", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  const { id } = (await first.call("POST", "/sandboxes", { name: "box" })).json;
  await first.kill("SIGKILL");
  await writeFile(join(folder, "sandboxes", id, "record.json"), "{");
  await writeFile(join(folder, `machines${awaySuffix}`), "");
  const second = await startDaemon(folder);
  expect((await second.call("DELETE", `/sandboxes/${id}?forget=true`)).json).toEqual({
    id,
    name: expect.any(String),
    removed: true,
    forgotten: true,
  });
  expect(existsSync(join(folder, "sandboxes", id))).toBe(false);
  expect(await second.call("DELETE", "/images/another")).toMatchObject({ status: 200 });
});
