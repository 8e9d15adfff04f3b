import { chmod, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { beforeAll, describe, expect, it } from "vitest";

import { debianPath, startPublisher } from "./testing/publisher-server.ts";
import { digest, qcow2Image } from "./testing/qemu-image.ts";
import { createScratch } from "./testing/scratch.ts";

const { signal } = new AbortController();
const nobody = new Set<string>();
const x86 = { architecture: "x86_64", signal } as const;
const refused = { code: "image_in_use" };
let image: Buffer;
let checksum: string;

beforeAll(async () => {
  image = await qcow2Image();
  checksum = digest("sha256", image);
});

describe("of several names for one content that is in use, all but the last can go", () => {
  it("when they are of the same file", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.root, "mine.qcow2");
    await writeFile(path, image, { mode: 0o644 });
    const store = scratch.store();
    const { fingerprint } = await store.add("one", path, { signal });
    await store.add("two", path, { signal });
    const inUse = new Set([fingerprint]);
    expect(await store.remove("one", { inUse, signal })).toEqual(["the name one"]);
    await expect(store.remove("two", { inUse, signal })).rejects.toMatchObject(refused);
    expect(await store.resolve("two", x86)).toMatchObject({ path, fingerprint });
    expect(await store.remove("two", { inUse: nobody, signal })).toEqual(["the name two"]);
  });

  it("when they are of files with the same bytes", async () => {
    await using scratch = await createScratch();
    const store = scratch.store();
    for (const name of ["one", "two"]) {
      const path = join(scratch.root, `${name}.qcow2`);
      await writeFile(path, image, { mode: 0o644 });
      expect(await store.add(name, path, { signal, checksum })).toMatchObject({ fingerprint: checksum });
    }
    const inUse = new Set([checksum]);
    expect(await store.remove("two", { inUse, signal })).toEqual(["the name two"]);
    await expect(store.remove("one", { inUse, signal })).rejects.toMatchObject(refused);
  });

  it("when they are of one URL: its file stays for the other", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.files.set("/image.qcow2", image);
    const store = scratch.store();
    const url = `${publisher.url}/image.qcow2`;
    const { path } = await store.add("one", url, { signal });
    await store.add("two", url, { signal });
    // Also when nobody uses it: the other name stands for it.
    expect(await store.remove("one", { inUse: nobody, signal })).toEqual(["the name one"]);
    expect(await store.resolve("two", { ...x86, download: "never" })).toMatchObject({ path });
    const inUse = new Set([checksum]);
    await expect(store.remove("two", { inUse, signal })).rejects.toMatchObject(refused);
    await store.remove("two", { inUse: nobody, signal });
    expect(await readdir(scratch.downloads)).toEqual([]);
  });

  it("when they are of different URLs: the file stays, because a disk may stand on that one", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    const store = scratch.store();
    const paths: string[] = [];
    for (const name of ["one", "two"]) {
      publisher.files.set(`/${name}.qcow2`, image);
      paths.push((await store.add(name, `${publisher.url}/${name}.qcow2`, { signal })).path);
    }
    const inUse = new Set([checksum]);
    expect(await store.remove("one", { inUse, signal })).toEqual(["the name one"]);
    await expect(store.remove("two", { inUse, signal })).rejects.toMatchObject(refused);
    for (const path of paths) expect((await readFile(path)).equals(image)).toBe(true);
    // What has no name any more goes when nobody needs it.
    expect((await store.list(signal)).map(({ path }) => path).toSorted()).toEqual(paths.toSorted());
    await store.prune({ inUse: nobody, everything: true, signal });
    expect(await readdir(scratch.downloads)).toEqual([]);
  });

  it("when the other is the catalogue's", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    const { path, fingerprint } = await store.resolve("debian:12", x86);
    await store.add("mine", path, { signal });
    const inUse = new Set([fingerprint]);
    await expect(store.remove("debian:12", { inUse, signal })).rejects.toMatchObject(refused);
    expect(await store.remove("mine", { inUse, signal })).toEqual(["the name mine"]);
    await expect(store.remove("debian:12", { inUse, signal })).rejects.toMatchObject(refused);
    await store.remove("debian:12", { inUse: nobody, signal });
  });

  it("when they are of files that others may change: the copy in use stays", async () => {
    await using scratch = await createScratch();
    const store = scratch.store();
    for (const name of ["one", "two"]) {
      const path = join(scratch.root, `${name}.qcow2`);
      await writeFile(path, image);
      await chmod(path, 0o666);
      expect(await store.add(name, path, { signal })).toMatchObject({ fingerprint: checksum });
    }
    const inUse = new Set([checksum]);
    expect(await store.remove("one", { inUse, signal })).toEqual(["the name one"]);
    expect((await readdir(scratch.copies)).length).toBe(2);
    await expect(store.remove("two", { inUse, signal })).rejects.toMatchObject(refused);
  });
});

it("a name of other content is no reason to let one go", async () => {
  await using scratch = await createScratch();
  const store = scratch.store();
  const path = join(scratch.root, "mine.qcow2");
  await writeFile(path, image, { mode: 0o644 });
  await writeFile(join(scratch.root, "other.qcow2"), await qcow2Image(), { mode: 0o644 });
  const { fingerprint } = await store.add("mine", path, { signal });
  await store.add("other", join(scratch.root, "other.qcow2"), { signal });
  await expect(store.remove("mine", { inUse: new Set([fingerprint]), signal })).rejects.toMatchObject(
    refused,
  );
});
