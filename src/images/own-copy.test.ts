import {
  appendFile,
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  rename,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";

import { beforeAll, describe, expect, it } from "vitest";

import { debianPath, startPublisher } from "./testing/publisher-server.ts";
import { digest, qcow2Image, rawDisk } from "./testing/qemu-image.ts";
import { createScratch, type Scratch } from "./testing/scratch.ts";

const { signal } = new AbortController();
const nobody = new Set<string>();
const x86 = { architecture: "x86_64", signal } as const;
const debianFile = "debian-12-generic-amd64.qcow2";
const isRoot = process.getuid?.() === 0;
const strangersUid = 65534;
let image: Buffer;
let newer: Buffer;

beforeAll(async () => {
  [image, newer] = await Promise.all([qcow2Image(), qcow2Image()]);
});

/** A file that only we can change. */
async function ownFile(scratch: Scratch, name = "mine.qcow2"): Promise<string> {
  const folder = join(scratch.root, "folder");
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const path = join(folder, name);
  await writeFile(path, image, { mode: 0o644 });
  return path;
}

async function copiesIn(scratch: Scratch): Promise<string[]> {
  return await readdir(scratch.copies).catch(() => []);
}

describe("a file is used where it lies", () => {
  it.each([
    ["when only we may write to it", async () => {}],
    [
      "behind a link of our own",
      async (path: string) => {
        await rename(path, `${path}.real`);
        await symlink(`../folder/${path.slice(path.lastIndexOf("/") + 1)}.real`, path);
      },
    ],
    ["as ours in a folder that is sticky", async (path: string) => await chmod(dirname(path), 0o1777)],
    [
      "when its group has nobody but us",
      async (path: string) => {
        if (isRoot) await chmod(path, 0o664);
      },
    ],
  ] as const)("%s", async (_how, change) => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await change(path);
    expect((await scratch.store().resolve(path, x86)).path).toBe(path);
    expect(await copiesIn(scratch)).toEqual([]);
  });

  it.runIf(isRoot)("when it belongs to the account that libvirt gives it to", async () => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await chown(path, strangersUid, 0);
    const used = await scratch.store({ alsoTrusted: ["nobody"] }).resolve(path, x86);
    expect(used.path).toBe(path);
    await chown(dirname(path), strangersUid, 0);
    expect((await scratch.store({ alsoTrusted: ["nobody"] }).resolve(path, x86)).path).not.toBe(path);
  });
});

describe("a file that others may change is copied", () => {
  const openToOthers: [string, boolean, (path: string, scratch: Scratch) => Promise<unknown>][] = [
    ["because all may write to it", true, async (path) => await chmod(path, 0o666)],
    ["because all may write to its folder", true, async (path) => await chmod(dirname(path), 0o777)],
    [
      "because all may write to a folder above",
      true,
      async (_path, scratch) => await chmod(scratch.root, 0o777),
    ],
    [
      "because its way there leads through such a folder",
      true,
      async (path, scratch) => {
        const real = join(scratch.root, "open");
        await mkdir(real);
        await rename(path, join(real, "x.qcow2"));
        await chmod(real, 0o777);
        await symlink(join(real, "x.qcow2"), path);
      },
    ],
    [
      "because of its group",
      isRoot,
      async (path) => {
        await chown(path, 0, strangersUid);
        await chmod(path, 0o664);
      },
    ],
    ["because it is another user's", isRoot, async (path) => await chown(path, strangersUid, 0)],
    [
      "because it is another user's in a sticky folder",
      isRoot,
      async (path) => {
        await chmod(dirname(path), 0o1777);
        await chown(path, strangersUid, 0);
      },
    ],
    [
      "because its folder is another user's",
      isRoot,
      async (path) => await chown(dirname(path), strangersUid, 0),
    ],
  ];

  it.for(openToOthers.filter(([, possible]) => possible))("%s", async ([, , change]) => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await change(path, scratch);
    const steps = new Set<string>();
    const used = await scratch.store().resolve(path, { ...x86, onStep: ({ id }) => steps.add(id) });
    expect(dirname(used.path)).toBe(scratch.copies);
    expect((await readFile(used.path)).equals(image)).toBe(true);
    expect((await stat(used.path)).mode & 0o777).toBe(0o444);
    expect((await stat(scratch.copies)).mode & 0o077).toBe(0);
    expect(used).toMatchObject({
      name: path,
      reference: path,
      fingerprint: expect.stringMatching(/^sha256:/),
    });
    expect(steps).toContain("image-own-copy");
    // Once.
    expect(await scratch.store().resolve(path, x86)).toEqual(used);
    expect(await copiesIn(scratch)).toEqual([used.path.split("/").at(-1)]);
  });

  it("also when it was found under a name of the catalogue, or given one", async () => {
    await using scratch = await createScratch();
    await chmod(scratch.first, 0o777);
    await writeFile(join(scratch.first, debianFile), image);
    const store = scratch.store();
    const found = await store.resolve("debian:12", x86);
    expect(dirname(found.path)).toBe(scratch.copies);
    const path = await ownFile(scratch);
    await chmod(path, 0o666);
    const added = await store.add("mine", path, { signal });
    expect(dirname(added.path)).toBe(scratch.copies);
    const listed = await store.list(signal);
    expect(listed.map(({ name, path }) => [name, path])).toEqual([
      ["debian:12", found.path],
      ["mine", added.path],
    ]);
  });

  it("and the copy outlives what its owner does to the file, who gives a new copy to what is made later", async () => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await chmod(path, 0o666);
    const before = await scratch.store().resolve(path, x86);
    await writeFile(path, newer);
    const after = await scratch.store().resolve(path, x86);
    expect(after.path).not.toBe(before.path);
    expect((await readFile(before.path)).equals(image)).toBe(true);
    expect((await readFile(after.path)).equals(newer)).toBe(true);

    const store = scratch.store();
    expect(await store.prune({ inUse: new Set([before.fingerprint]), signal })).toEqual([]);
    expect(await store.prune({ inUse: nobody, signal })).toEqual([
      expect.stringContaining(`a copy of ${path} (${before.path},`),
    ]);
    expect(await store.prune({ inUse: nobody, everything: true, signal })).toEqual([
      expect.stringContaining(after.path),
    ]);
    expect(await copiesIn(scratch)).toEqual([]);
    expect((await readFile(path)).equals(newer)).toBe(true);
  });

  it("with its holes", async () => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch, "disk.img");
    const disk = Buffer.concat([rawDisk(), Buffer.alloc(32 * 1024 * 1024)]);
    await writeFile(path, disk);
    await chmod(path, 0o666);
    const used = await scratch.store().resolve(path, x86);
    expect((await readFile(used.path)).equals(disk)).toBe(true);
    const { blocks } = await stat(used.path);
    expect(blocks * 512).toBeLessThan(8 * 1024 * 1024);
  });

  it("and refused as itself when it is no image", async () => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await chmod(path, 0o666);
    await writeFile(path, image.subarray(0, 5000));
    await expect(scratch.store().resolve(path, x86)).rejects.toMatchObject({
      code: "image_invalid",
      message: expect.stringContaining(path),
    });
    expect(await copiesIn(scratch)).toEqual([]);
  });

  it("and its checksum is the copy's", async () => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await chmod(path, 0o666);
    const checksum = (await scratch.store().resolve(path, x86)).fingerprint;
    const store = scratch.store();
    const added = await store.add("mine", path, { signal, checksum });
    expect(added).toMatchObject({ verified: true, fingerprint: checksum });
    await appendFile(path, Buffer.alloc(512));
    await expect(store.resolve("mine", x86)).rejects.toMatchObject({
      code: "image_checksum_mismatch",
      message: expect.stringContaining(path),
    });
  });

  it("and goes with the name, unless it is in use", async () => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await chmod(path, 0o666);
    const store = scratch.store();
    const { fingerprint } = await store.add("mine", path, { signal });
    const inUse = new Set([fingerprint]);
    await expect(store.remove("mine", { inUse, signal })).rejects.toMatchObject({ code: "image_in_use" });
    expect((await copiesIn(scratch)).length).toBe(1);
    await store.remove("mine", { inUse: nobody, signal });
    expect(await copiesIn(scratch)).toEqual([]);
    expect((await readFile(path)).equals(image)).toBe(true);
  });

  it("and stays for a disk that knows it by another algorithm than it was verified with since", async () => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await chmod(path, 0o666);
    const store = scratch.store();
    const { fingerprint } = await store.resolve(path, x86);
    const sha512 = digest("sha512", image);
    await store.add("mine", path, { signal, checksum: sha512 });
    await store.prune({ everything: true, inUse: new Set([fingerprint]), signal });
    expect((await copiesIn(scratch)).length).toBe(1);
  });

  it("once for all who want it at the same time", async () => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await chmod(path, 0o666);
    const found = await Promise.all([1, 2, 3].map(() => scratch.store().resolve(path, x86)));
    expect(new Set(found.map((one) => one.path)).size).toBe(1);
    expect((await copiesIn(scratch)).length).toBe(1);
  });

  it("and nothing is left when that is interrupted", async () => {
    await using scratch = await createScratch();
    const path = await ownFile(scratch);
    await chmod(path, 0o666);
    const abort = new AbortController();
    const resolving = scratch.store().resolve(path, {
      architecture: "x86_64",
      signal: abort.signal,
      onStep: ({ id }) => id === "image-own-copy" && abort.abort(),
    });
    await expect(resolving).rejects.toMatchObject({ code: "aborted" });
    expect(await copiesIn(scratch)).toEqual([]);
  });
});

describe("an image of the catalogue that was found", () => {
  it("is said to be unverified, until it was compared with its publisher's checksum", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    const path = join(scratch.first, debianFile);
    await writeFile(path, image, { mode: 0o644 });
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    expect(await store.resolve("debian:12", x86)).toMatchObject({
      verified: false,
      warning: expect.stringMatching(`${path}.*never compared.*heyvm pull --force debian:12`),
    });
    const verified = await store.resolve("debian:12", { ...x86, download: "always" });
    expect(verified).toMatchObject({ path, verified: true });
    expect(verified.warning).toBeUndefined();
    expect((await store.resolve("debian:12", x86)).warning).toBeUndefined();
  });

  it("and copied is so, too, without being copied again", async () => {
    await using publisher = await startPublisher();
    await using scratch = await createScratch();
    publisher.publish(debianPath, image);
    await writeFile(join(scratch.first, debianFile), image);
    await chmod(scratch.first, 0o777);
    const store = scratch.store({ mirrors: { debian: publisher.url } });
    const before = await store.resolve("debian:12", x86);
    expect(before.warning).toContain("never compared");
    const after = await store.resolve("debian:12", { ...x86, download: "always" });
    expect(after).toMatchObject({ path: before.path, fingerprint: before.fingerprint, verified: true });
    expect(after.warning).toBeUndefined();
  });
});
