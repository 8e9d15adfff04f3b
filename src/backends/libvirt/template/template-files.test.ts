import { appendFile, mkdtemp, open, rename, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createMemoryHost } from "../testing/memory-host.ts";
import {
  damageOf,
  findTemplate,
  loadState,
  sealState,
  stampTemplate,
  type Template,
  templateFiles,
} from "./template-files.ts";

const { signal } = new AbortController();
const key = "0123456789abcdef";
const files = templateFiles(key, "89abcdef");

let folder: string;
let template: Template;
const host = createMemoryHost();
const storage = async () => ({
  ...(await host.storage(signal)),
  path: (volume: string) => join(folder, volume),
});

const damage = async () => damageOf(await storage(), template);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "heyvm-template-"));
  for (const file of Object.values(files)) await writeFile(join(folder, file), sealState(Buffer.from(file)));
  const marker = {
    disk: files.disk,
    fingerprint: "sha256:aa",
    reference: "debian:12",
    createdAt: "now",
    template: {
      type: "shell",
      accelerator: "tcg",
      vcpus: 1,
      memoryBytes: 1024 ** 3,
      preparedDisk: "prepared.qcow2",
      stamps: await stampTemplate(await storage(), files),
    },
  };
  host.volumes.set(`template-${key}.json`, { content: Buffer.from(JSON.stringify(marker)) });
  const found = await findTemplate(await storage(), key, signal);
  if (found === undefined) throw new Error("it is not found");
  template = found;
});
afterEach(() => rm(folder, { recursive: true }));

test("a template that nobody touched has no damage", async () => {
  expect(await damageOf(await storage(), template)).toBeUndefined();
});

test.each(["disk", "ram", "state", "blank"] as const)("any change of its %s is noticed", async (part) => {
  const path = join(folder, files[part]);
  const { atime, mtime, size } = await stat(path);
  await appendFile(path, "x");
  expect(await damage()).toContain(files[part]);
  await truncate(path, size);
  await utimes(path, atime, mtime);
  expect(await damage(), "what was undone, and the time put back").toContain("changed");
  await using file = await open(path, "r+");
  await file.write("y", 3);
  await file.utimes(atime, mtime);
  expect(await damage(), "one byte").toContain("changed");
  await rename(path, `${path}.away`);
  expect(await damage()).toContain("missing");
});

test("a state is only loaded when it is the one that was saved", async () => {
  const path = join(folder, "state");
  const state = Buffer.from("devices");
  await writeFile(path, sealState(state));
  expect(await loadState(path)).toEqual(state);
  for (const damaged of [sealState(state).subarray(0, -1), Buffer.alloc(0), Buffer.alloc(100)]) {
    await writeFile(path, damaged);
    expect(await loadState(path)).toBeUndefined();
  }
});

test("without a marker, or with half of one, there is no template", async () => {
  const marker = host.volumes.get(`template-${key}.json`)?.content ?? Buffer.alloc(0);
  host.volumes.set(`template-${key}.json`, { content: marker.subarray(0, 40) });
  expect(await findTemplate(await storage(), key, signal)).toBeUndefined();
  host.volumes.delete(`template-${key}.json`);
  expect(await findTemplate(await storage(), key, signal)).toBeUndefined();
});
