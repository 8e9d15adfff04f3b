import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { beforeAll, describe, expect, it } from "vitest";

import { alpineFolder, debianPath, startPublisher, ubuntuPath } from "./testing/publisher-server.ts";
import { qcow2Image } from "./testing/qemu-image.ts";
import { createScratch } from "./testing/scratch.ts";

const { signal } = new AbortController();
const nobody = new Set<string>();
const x86 = { architecture: "x86_64", signal } as const;
const debianFile = "debian-12-generic-amd64.qcow2";
let image: Buffer;
let newer: Buffer;

beforeAll(async () => {
  [image, newer] = await Promise.all([qcow2Image(), qcow2Image()]);
});

function digest(algorithm: "sha256" | "sha512", content: Buffer): string {
  return `${algorithm}:${createHash(algorithm).update(content).digest("hex")}`;
}

/** Names in a folder, without the lock's own. */
async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).toSorted();
}

describe("an image of the catalogue", () => {
  it.each([
    ["ubuntu:24.04", ubuntuPath, "sha256"],
    ["debian:12", debianPath, "sha512"],
    ["alpine:3.23", `${alpineFolder}nocloud_alpine-3.23.4-x86_64-bios-cloudinit-r0.qcow2`, "sha512"],
  ] as const)("%s is downloaded, verified, and read-only", async (name, path, algorithm) => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(path, image);
    const mirrors = { ubuntu: publisher.url, debian: publisher.url, alpine: publisher.url };
    const found = await scratch.store({ mirrors }).resolve(name, x86);
    expect(found).toMatchObject({
      reference: name,
      format: "qcow2",
      fingerprint: digest(algorithm, image),
      verified: true,
      url: publisher.url + path,
      architecture: "x86_64",
    });
    expect((await readFile(found.path)).equals(image)).toBe(true);
    expect((await stat(found.path)).mode & 0o777).toBe(0o444);
    expect(await namesIn(scratch.downloads)).toEqual([path.split("/").at(-1)]);
  });

  it("is downloaded once, and then found without asking anybody", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    const mirrors = { debian: publisher.url };
    const first = await scratch.store({ mirrors }).resolve("debian:12", x86);
    const requests = publisher.requests.length;
    expect(await scratch.store({ mirrors }).resolve("debian:12", x86)).toEqual(first);
    expect(publisher.requests.length).toBe(requests);
  });

  it("of Alpine is the newest point release of the folder", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    for (const release of [
      "2-x86_64-bios-cloudinit-r0",
      "10-x86_64-bios-cloudinit-r1",
      "9-x86_64-bios-tiny-r0",
    ]) {
      publisher.publish(`${alpineFolder}nocloud_alpine-3.23.${release}.qcow2`, image);
    }
    const store = scratch.store({ mirrors: { alpine: publisher.url } });
    const found = await store.resolve("alpine:3.23", x86);
    expect(found.path).toMatch(/nocloud_alpine-3\.23\.10-x86_64-bios-cloudinit-r1\.qcow2$/);
  });

  it("is taken from the first folder that has it, as it is", async () => {
    await using scratch = await createScratch();
    await mkdir(scratch.downloads);
    await writeFile(join(scratch.first, debianFile), image);
    await writeFile(join(scratch.downloads, debianFile), newer);
    const found = await scratch.store().resolve("debian:12", x86);
    expect(found.path).toBe(join(scratch.first, debianFile));
    expect(found.fingerprint).toMatch(/^stat:/);
    expect(found.verified).toBe(false);
  });

  it("that is broken in a folder is refused with its reason, and not passed over", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    await writeFile(join(scratch.first, debianFile), image.subarray(0, image.length / 2));
    const resolving = scratch.store({ mirrors: { debian: publisher.url } }).resolve("debian:12", x86);
    await expect(resolving).rejects.toMatchObject({
      code: "image_invalid",
      message: expect.stringContaining("truncated"),
    });
    expect(publisher.requests).toEqual([]);
  });

  it("is not downloaded when that is not wanted", async () => {
    await using scratch = await createScratch();
    const resolving = scratch.store().resolve("debian:12", { ...x86, download: "never" });
    await expect(resolving).rejects.toMatchObject({ code: "image_not_found", hint: "heyvm pull debian:12" });
  });

  it("has another fingerprint when its file was changed", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.first, debianFile);
    await writeFile(path, image);
    const before = await scratch.store().resolve("debian:12", x86);
    await utimes(path, new Date(), new Date(Date.now() + 10_000));
    const after = await scratch.store().resolve("debian:12", x86);
    expect(after.fingerprint).not.toBe(before.fingerprint);
  });

  it("loses its verified fingerprint when its file was changed", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    const { path } = await store.resolve("debian:12", x86);
    await rm(path);
    await writeFile(path, newer);
    expect(await store.resolve("debian:12", x86)).toMatchObject({
      verified: false,
      fingerprint: expect.stringMatching(/^stat:/),
    });
  });
});

describe("a forced pull", () => {
  it("downloads nothing when exactly the publisher's bytes are here", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    const before = await store.resolve("debian:12", x86);
    expect(await store.resolve("debian:12", { ...x86, download: "always" })).toEqual(before);
    expect(publisher.requestsOf(debianPath).length).toBe(1);
  });

  it("puts newer bytes beside the old ones, on which disks may stand, and prune takes the old ones later", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    const old = await store.resolve("debian:12", x86);
    publisher.publish(debianPath, newer);
    const fresh = await store.resolve("debian:12", { ...x86, download: "always" });
    expect(fresh.path).not.toBe(old.path);
    expect((await readFile(old.path)).equals(image)).toBe(true);
    expect(await store.resolve("debian:12", x86)).toEqual(fresh);

    expect(await store.prune({ inUse: new Set([old.fingerprint]), signal })).toEqual([]);
    expect(await store.prune({ inUse: nobody, signal })).toEqual([expect.stringContaining(old.path)]);
    expect(await namesIn(scratch.downloads)).toEqual([fresh.path.split("/").at(-1)]);
  });

  it("mends a file that was damaged after its download", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    await mkdir(scratch.downloads);
    await writeFile(join(scratch.downloads, debianFile), image.subarray(0, 5000));
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    const mended = await store.resolve("debian:12", { ...x86, download: "always" });
    expect((await readFile(mended.path)).equals(image)).toBe(true);
    expect(await store.resolve("debian:12", x86)).toEqual(mended);
  });
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

it("an unknown name tells what there is", async () => {
  await using scratch = await createScratch();
  await expect(scratch.store().resolve("debian:13", x86)).rejects.toMatchObject({
    code: "image_not_found",
    message: expect.stringContaining("ubuntu:24.04, debian:12, alpine:3.23"),
  });
});

it("the catalogue tells where its images come from and which are here", async () => {
  await using scratch = await createScratch();
  await writeFile(join(scratch.first, debianFile), image);
  const store = scratch.store({ mirrors: { alpine: "http://mirror/x/" } });
  const supported = await store.supported(signal);
  expect(supported.map(({ name }) => name)).toEqual(["ubuntu:24.04", "debian:12", "alpine:3.23"]);
  expect(supported[2]?.url).toBe("http://mirror/x/alpine/v3.23/releases/cloud/");
});

it("a damaged index is told, and not overwritten", async () => {
  await using scratch = await createScratch();
  await mkdir(join(scratch.root, "state"));
  await writeFile(scratch.indexPath, "{");
  await expect(scratch.store().list(signal)).rejects.toThrow(/index of images .* is damaged/);
  expect(await readFile(scratch.indexPath, "utf8")).toBe("{");
});
