import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { beforeAll, describe, expect, it } from "vitest";

import { debianPath, startPublisher } from "./testing/publisher-server.ts";
import { qcow2Image } from "./testing/qemu-image.ts";
import { createScratch, namesIn } from "./testing/scratch.ts";

const { signal } = new AbortController();
const nobody = new Set<string>();
const x86 = { architecture: "x86_64", signal } as const;
const debianFile = "debian-12-generic-amd64.qcow2";
let image: Buffer;
let newer: Buffer;

beforeAll(async () => {
  [image, newer] = await Promise.all([qcow2Image(), qcow2Image()]);
});

describe("removal", () => {
  it("of an image in use is refused and removes nothing, also when its origin was forgotten", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    const { fingerprint, path } = await store.resolve("debian:12", x86);
    const inUse = new Set([fingerprint]);
    await expect(store.remove("debian:12", { inUse, signal })).rejects.toMatchObject({
      code: "image_in_use",
    });
    expect(await store.prune({ inUse, everything: true, signal })).toEqual([]);
    await rm(scratch.indexPath);
    await expect(store.remove("debian:12", { inUse, signal })).rejects.toMatchObject({
      code: "image_in_use",
    });
    expect((await readFile(path)).equals(image)).toBe(true);
    expect(await store.remove("debian:12", { inUse: nobody, signal })).toEqual([
      expect.stringContaining(path),
    ]);
    expect(await namesIn(scratch.downloads)).toEqual([]);
  });

  it("of what may be in use is refused with the reason, and removes nothing", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    const { path } = await store.resolve("debian:12", x86);
    await writeFile(join(scratch.root, "mine.qcow2"), newer, { mode: 0o644 });
    for (const name of ["one", "two"]) await store.add(name, join(scratch.root, "mine.qcow2"), { signal });
    const unknown = new Error("nobody knows");
    const use = { inUse: nobody, unknown, signal };
    await expect(store.remove("debian:12", use)).rejects.toBe(unknown);
    await expect(store.prune({ ...use, everything: true })).rejects.toBe(unknown);
    expect((await readFile(path)).equals(image)).toBe(true);
    // What nothing can stand on goes all the same.
    expect(await store.prune(use)).toEqual([]);
    expect(await store.remove("one", use)).toEqual(["the name one"]);
    await expect(store.remove("two", use)).rejects.toBe(unknown);
  });

  it("leaves alone what heyvm did not bring", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.first, debianFile);
    await writeFile(path, image);
    const store = scratch.store();
    for (const reference of ["debian:12", path, "/etc/passwd", "alpine:3.23", "nothing"]) {
      await expect(store.remove(reference, { inUse: nobody, signal })).rejects.toMatchObject({
        code: "image_not_found",
      });
    }
    expect(await store.prune({ inUse: nobody, everything: true, signal })).toEqual([]);
    expect((await readFile(path)).equals(image)).toBe(true);
  });

  it("of everything takes unused downloads and interrupted ones, and no file of others", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    await store.resolve("debian:12", x86);
    await writeFile(join(scratch.downloads, "ubuntu-24.04-x86_64.partial"), "begun");
    await writeFile(join(scratch.downloads, "ubuntu-24.04-x86_64.partial.json"), "{}");
    await writeFile(join(scratch.downloads, "windows.qcow2"), newer);
    await writeFile(join(scratch.downloads, "thesis.partial"), "mine");
    expect(await store.prune({ inUse: nobody, signal })).toHaveLength(1);
    expect(await store.prune({ inUse: nobody, everything: true, signal })).toHaveLength(1);
    expect(await namesIn(scratch.downloads)).toEqual(["thesis.partial", "windows.qcow2"]);
  });
});
