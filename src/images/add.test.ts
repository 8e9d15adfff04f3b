import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { beforeAll, describe, expect, it } from "vitest";

import { startPublisher } from "./testing/publisher-server.ts";
import { digest, qcow2Image } from "./testing/qemu-image.ts";
import { createScratch, namesIn } from "./testing/scratch.ts";

const { signal } = new AbortController();
const nobody = new Set<string>();
const x86 = { architecture: "x86_64", signal } as const;
let image: Buffer;
let newer: Buffer;

beforeAll(async () => {
  [image, newer] = await Promise.all([qcow2Image(), qcow2Image()]);
});

describe("an image of the user's own", () => {
  it("is taken by its path, where it is", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.root, "mine.qcow2");
    await writeFile(path, image);
    expect(await scratch.store().resolve(path, x86)).toMatchObject({ path, name: path, reference: path });
    expect(await scratch.store().list(signal)).toEqual([]);
  });

  it("is taken by the name it was added under, until that is removed, and its file stays", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.root, "mine.qcow2");
    await writeFile(path, image);
    const store = scratch.store();
    const added = await store.add("my-debian:1", path, { signal });
    expect(await scratch.store().resolve("my-debian:1", x86)).toEqual(added);
    expect(await store.list(signal)).toEqual([added]);
    const inUse = new Set([added.fingerprint]);
    await expect(store.remove("my-debian:1", { inUse, signal })).rejects.toMatchObject({
      code: "image_in_use",
    });
    expect(await store.remove("my-debian:1", { inUse: nobody, signal })).toEqual(["the name my-debian:1"]);
    await expect(store.resolve("my-debian:1", x86)).rejects.toMatchObject({ code: "image_not_found" });
    expect((await readFile(path)).equals(image)).toBe(true);
  });

  it("must have the checksum that was given, also after its file was changed", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.root, "mine.qcow2");
    await writeFile(path, image);
    const store = scratch.store();
    const wrong = store.add("mine", path, { signal, checksum: digest("sha256", newer) });
    await expect(wrong).rejects.toMatchObject({ code: "image_checksum_mismatch" });
    const added = await store.add("mine", path, { signal, checksum: digest("sha256", image) });
    expect(added).toMatchObject({ verified: true, fingerprint: digest("sha256", image) });
    await writeFile(path, newer);
    await expect(store.resolve("mine", x86)).rejects.toMatchObject({ code: "image_checksum_mismatch" });
  });

  it("can't take a name of the catalogue, or another's", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.root, "mine.qcow2");
    await writeFile(path, image);
    await writeFile(join(scratch.root, "other.qcow2"), newer);
    const store = scratch.store();
    await store.add("mine", path, { signal });
    await store.add("mine", path, { signal });
    for (const [name, source] of [
      ["debian:12", path],
      ["mine", join(scratch.root, "other.qcow2")],
    ] as const) {
      await expect(store.add(name, source, { signal })).rejects.toMatchObject({ code: "name_taken" });
    }
  });

  it("that can't be used takes no name", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.root, "mine.qcow2");
    await writeFile(path, "text");
    const store = scratch.store();
    await expect(store.add("mine", path, { signal })).rejects.toMatchObject({ code: "image_invalid" });
    await expect(store.add("gone", join(scratch.root, "gone"), { signal })).rejects.toMatchObject({
      code: "image_not_found",
    });
    await expect(store.resolve("mine", x86)).rejects.toMatchObject({ code: "image_not_found" });
  });

  it("is downloaded from its URL once, also under a name", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.files.set("/some/image.qcow2", image);
    const url = `${publisher.url}/some/image.qcow2?token=secret`;
    const store = scratch.store();
    const byUrl = await store.resolve(url, x86);
    const byName = await store.add("web", url, { signal });
    expect(byName.path).toBe(byUrl.path);
    expect(byUrl).toMatchObject({ verified: false, fingerprint: digest("sha256", image) });
    expect(publisher.requests.length).toBe(1);
    expect(JSON.stringify(byUrl).replace(url, "")).not.toContain("secret");
    await store.remove("web", { inUse: nobody, signal });
    expect(await namesIn(scratch.downloads)).toEqual([]);
  });

  it("from a URL must have the checksum that was given", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.files.set("/image.qcow2", image);
    const store = scratch.store();
    const url = `${publisher.url}/image.qcow2`;
    const wrong = store.add("web", url, { signal, checksum: digest("sha512", newer) });
    await expect(wrong).rejects.toMatchObject({ code: "image_checksum_mismatch" });
    expect(await namesIn(scratch.downloads)).toEqual([]);
    const added = await store.add("web", url, { signal, checksum: digest("sha512", image) });
    expect(added).toMatchObject({ verified: true, fingerprint: digest("sha512", image) });
  });
});
