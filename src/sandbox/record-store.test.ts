import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { sandboxPaths, type StatePaths, statePaths } from "../config/paths.ts";
import type { SandboxRecord } from "./record.ts";
import { createRecordStore } from "./record-store.ts";

const id = "sb-0123abcd";

const record: SandboxRecord = {
  version: 1,
  id,
  status: "running",
  removing: false,
  spec: {
    name: "box",
    slug: "box",
    type: "shell",
    backend: "libvirt",
    cpus: 1,
    memoryBytes: 2 ** 30,
    mounts: [{ hostPath: "/srv", guestPath: "/workspace", readOnly: true }],
    network: false,
    ttlSeconds: null,
    workingDirectory: "/workspace",
    openPorts: [],
    env: { A: "1" },
    setupHooks: [],
    labels: {},
  },
  createdAtMs: 1,
  startedAtMs: 2,
  expiresAtMs: null,
  warnings: [],
};

async function testState(): Promise<StatePaths> {
  const folder = await mkdtemp(join(tmpdir(), "hv-records-"));
  onTestFinished(async () => await rm(folder, { recursive: true }));
  return statePaths(folder);
}

test("a record reads back as it was saved, and no temporary file stays", async () => {
  const state = await testState();
  const store = createRecordStore(state);
  await store.create(record);
  await store.save({ ...record, status: "stopped" });
  expect(await store.load()).toEqual([{ record: { ...record, status: "stopped" }, damaged: false }]);
  expect(await readdir(sandboxPaths(state, id).folder)).toEqual(["record.json"]);
});

test("a record that an earlier version wrote is read, with all that was asked for", async () => {
  const state = await testState();
  const text = await readFile(new URL("testing/record-of-0.1.json", import.meta.url), "utf8");
  const written = JSON.parse(text);
  await mkdir(sandboxPaths(state, written.id).folder, { recursive: true });
  await writeFile(sandboxPaths(state, written.id).record, text);
  const { image, ofALaterVersion, ...spec } = written.spec;
  const { reference, path, format, virtualSizeBytes, fingerprint, architecture } = image;
  const read = {
    ...spec,
    image: { reference, path, format, virtualSizeBytes, fingerprint, architecture },
  };
  expect(ofALaterVersion).toBe(true);
  expect(await createRecordStore(state).load()).toEqual([
    { record: { ...written, spec: read }, damaged: false },
  ]);
});

test("a record is read also when the limits of a create have become others", async () => {
  const state = await testState();
  const beyond = {
    description: "x".repeat(100_000),
    startCommand: "",
    setupHooks: Array.from({ length: 100 }, () => ""),
    backend: "",
    uri: "",
    workingDirectory: "",
    openPorts: Array.from({ length: 100 }, () => ({ guestPort: 0, hostPort: 0 })),
    ttlSeconds: 0.5,
  };
  const kept = { ...record, spec: { ...record.spec, ...beyond } };
  await createRecordStore(state).create(kept);
  expect(await createRecordStore(state).load()).toEqual([{ record: kept, damaged: false }]);
});

test("what a create left unfinished is removed, and a folder that lost its record is shown", async () => {
  const state = await testState();
  await mkdir(`${sandboxPaths(state, id).folder}.new`, { recursive: true });
  await mkdir(sandboxPaths(state, "sb-00000001").folder);
  const loaded = await createRecordStore(state).load();
  expect(loaded).toMatchObject([{ record: { id: "sb-00000001", status: "failed" }, damaged: true }]);
  expect(await readdir(state.sandboxes)).toEqual(["sb-00000001"]);
});

test("a create whose folder is another's leaves that as it is, and nothing of its own", async () => {
  const state = await testState();
  const store = createRecordStore(state);
  await store.create({ ...record, status: "stopped" });
  await expect(store.create(record)).rejects.toThrow("ENOTEMPTY");
  expect(await readdir(state.sandboxes)).toEqual([id]);
  expect(await store.load()).toMatchObject([{ record: { status: "stopped" } }]);
});

test.each(["", "{", "[]", '{"version": 99}', JSON.stringify({ ...record, id: "sb-ffffffff" })])(
  "a damaged record (%j) becomes a failed sandbox, and its file stays as it is",
  async (content) => {
    const state = await testState();
    const { folder, record: path } = sandboxPaths(state, id);
    await mkdir(folder, { recursive: true });
    await writeFile(path, content);
    const [loaded] = await createRecordStore(state).load();
    expect(loaded).toMatchObject({ damaged: true, record: { id, status: "failed" } });
    expect(loaded?.record.errorMessage).toContain(path);
    expect(await readFile(path, "utf8")).toBe(content);
  },
);

test("folders that are no sandbox's are left alone", async () => {
  const state = await testState();
  await mkdir(join(state.sandboxes, "notes"), { recursive: true });
  expect(await createRecordStore(state).load()).toEqual([]);
});
