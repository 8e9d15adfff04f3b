import { mkdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { beforeAll, describe, expect, it } from "vitest";

import { catalogue } from "./catalogue/catalogue.ts";
import { alpineFolder, debianPath, startPublisher, ubuntuPath } from "./testing/publisher-server.ts";
import { digest, qcow2Image } from "./testing/qemu-image.ts";
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
  expect(supported.map(({ name }) => name)).toEqual(catalogue.map(({ name }) => name));
  expect(supported.find(({ name }) => name === "alpine:3.23")?.url).toBe(
    "http://mirror/x/alpine/v3.23/releases/cloud/",
  );
});

it("a damaged index is told, and not overwritten", async () => {
  await using scratch = await createScratch();
  await mkdir(join(scratch.root, "state"));
  await writeFile(scratch.indexPath, "{");
  await expect(scratch.store().list(signal)).rejects.toThrow(/index of images .* is damaged/);
  expect(await readFile(scratch.indexPath, "utf8")).toBe("{");
});
