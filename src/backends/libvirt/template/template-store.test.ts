import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import type { PreparationMetadata } from "../domain/domain-metadata.ts";
import { buildDomainXml, type DomainShape } from "../domain/domain-xml.ts";
import type { Storage } from "../host.ts";
import { machineNames } from "../names.ts";
import { markOfThisProcess } from "../process-mark.ts";
import { removeOrphans } from "../storage/prune.ts";
import { createMemoryHost, type MemoryHost } from "../testing/memory-host.ts";
import { launchClone } from "./clone.ts";
import { findTemplate, sealState, stampTemplate, templateFiles } from "./template-files.ts";
import { createTemplateStore, type TemplateStore } from "./template-store.ts";

const { signal } = new AbortController();
const [oldest, middle, newest] = ["0".repeat(16), "1".repeat(16), "2".repeat(16)] as const;
const build = "89abcdef";
const fileBytes = 64 * 1024;

let folder: string;
let host: MemoryHost;
let storage: Storage;
let store: TemplateStore;
/** Keys of templates that nothing may wait for any more. */
let left: string[];
/** What goes with them. */
let leaving: (() => void) | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "heyvm-templates-"));
  host = createMemoryHost();
  const inMemory = await host.storage(signal);
  storage = {
    ...inMemory,
    path: (volume) => join(folder, volume),
    async remove(volume, signal) {
      await rm(join(folder, volume), { force: true });
      await inMemory.remove(volume, signal);
    },
  };
  host.storage = async () => storage;
  const used = [oldest, middle, newest].map((key, index) => [key, index] as const);
  const use = { ask: async () => 1, lastUsed: async () => new Map(used), saved: async () => undefined };
  store = createTemplateStore(host, use, async (key) => {
    left.push(key);
    leaving?.();
  });
  left = [];
  leaving = undefined;
  for (const key of [newest, oldest, middle]) await plant(key);
});
afterEach(() => rm(folder, { recursive: true }));

async function plant(key: string): Promise<void> {
  const files = templateFiles(key, build);
  for (const file of Object.values(files)) {
    await writeFile(join(folder, file), sealState(Buffer.alloc(fileBytes, file)));
    host.volumes.set(file, {});
  }
  const marker = {
    disk: files.disk,
    fingerprint: "sha256:aa",
    reference: "debian:12",
    createdAt: "2026-01-01T00:00:00Z",
    template: {
      type: "shell",
      accelerator: "tcg",
      vcpus: 2,
      memoryBytes: 1024 ** 3,
      preparedDisk: "prepared.qcow2",
      stamps: await stampTemplate(storage, files),
    },
  };
  host.volumes.set(`template-${key}.json`, { content: Buffer.from(JSON.stringify(marker)) });
}

const standOn = (key: string) =>
  host.volumes.set("sb-0000000a.qcow2", { backing: storage.path(templateFiles(key, build).disk) });
const keys = async () => (await store.list(signal)).map(({ key }) => key).toSorted();
const filesOf = (key: string) => [...host.volumes.keys()].filter((volume) => volume.includes(key));

test("templates are listed with what they are of, their size and whether a machine stands on them", async () => {
  standOn(middle);
  const listed = await store.list(signal);
  expect(listed.find(({ key }) => key === middle)).toMatchObject({
    reference: "debian:12",
    type: "shell",
    cpus: 2,
    memoryBytes: 1024 ** 3,
    lastUsedMs: 1,
    inUse: true,
  });
  expect(listed.find(({ key }) => key === oldest)?.diskBytes).toBeGreaterThanOrEqual(4 * fileBytes);
});

test("one is removed with all its files, one in use stays, one that is not there is no error", async () => {
  standOn(middle);
  expect(await store.remove(middle, signal)).toBe("in_use");
  expect(await store.remove(oldest, signal)).toBe("removed");
  expect(await store.remove(oldest, signal)).toBe("absent");
  expect(await keys()).toEqual([middle, newest]);
  expect(filesOf(oldest)).toEqual([]);
});

test("one on which only machines stand that wait to become a sandbox is removed with them", async () => {
  standOn(middle);
  leaving = () => void host.volumes.delete("sb-0000000a.qcow2");
  expect(await store.remove(middle, signal)).toBe("removed");
  expect(await keys()).toEqual([oldest, newest]);
});

test("the budget takes what was used the longest ago, but nothing in use and not the one that was just made", async () => {
  standOn(oldest);
  await store.keepWithin(1, newest, signal);
  expect(await keys()).toEqual([oldest, newest]);
});

test("a damaged one is not answered, and gone; its files stay for those who stand on them", async () => {
  expect((await store.open(oldest, signal))?.state.length).toBe(fileBytes);
  standOn(oldest);
  await writeFile(storage.path(templateFiles(oldest, build).ram), "other");
  expect(await store.open(oldest, signal)).toBeUndefined();
  expect(await keys()).toEqual([middle, newest]);
  expect(filesOf(oldest)).toHaveLength(4);
  expect(left).toEqual([oldest]);
});

test("a template that is removed while a clone begins is either seen to be in use or not used", async () => {
  const template = await findTemplate(storage, middle, signal);
  if (template === undefined) throw new Error("it is not found");
  const unchanged = { ...storage };
  storage.copy = async (...args) => {
    await store.remove(middle, signal);
    await unchanged.copy(...args);
  };
  const shape = shapeOf(await preparation("00000001"));
  const clone = launchClone(host, { shape, disk: "sb-0000000a.qcow2", template }, signal);
  await expect(clone).rejects.toThrow(`template ${middle} cannot be used any more: it was removed`);
});

test("what a maker published before it died stays; what it did not finish goes", async () => {
  const unfinished = templateFiles(newest, "00000002");
  host.volumes.set(unfinished.disk, {}).set(unfinished.ram, {});
  for (const dead of [build, "00000002"]) {
    const metadata = await preparation(dead);
    await host.domains.define(buildDomainXml(shapeOf(metadata)), signal);
  }
  await removeOrphans(host, { owner: "me", runtimeFolder: "/nowhere" }, signal);
  expect(await keys()).toEqual([oldest, middle, newest]);
  expect(filesOf("00000002")).toEqual([]);
  expect(host.machines.size).toBe(0);
});

async function preparation(build: string): Promise<PreparationMetadata> {
  const maker = { ...(await markOfThisProcess()), bootId: "of another boot" };
  return { kind: "preparation", id: `preparing-${build}`, owner: "me", key: newest, build, maker };
}

function shapeOf(metadata: PreparationMetadata): DomainShape {
  return {
    name: machineNames(metadata.id).domain,
    uuid: "00000000-0000-0000-0000-000000000000",
    title: "",
    metadata,
    architecture: "x86_64",
    accelerator: "tcg",
    vcpus: 1,
    memoryBytes: 1024 ** 3,
    disks: [],
    mounts: [],
    network: { kind: "none" },
    consoleLogPath: "/log",
  };
}
