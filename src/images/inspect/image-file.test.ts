import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { HeyvmError } from "../../errors/index.ts";
import { inspectImageFile } from "./image-file.ts";
import { createScratch } from "../testing/scratch.ts";
import { qcow2Image, qemuImg, rawDisk } from "../testing/qemu-image.ts";

async function inspecting(content: Buffer): Promise<Awaited<ReturnType<typeof inspectImageFile>>> {
  await using scratch = await createScratch();
  const path = join(scratch.root, "image");
  await writeFile(path, content);
  return await inspectImageFile(path);
}

describe("what qemu-img makes is accepted", () => {
  it.each([
    ["as it is", []],
    ["compressed", ["-c"]],
    ["of version 2", ["-o", "compat=0.10"]],
    ["with small clusters", ["-o", "cluster_size=4096"]],
    ["with extended L2 entries", ["-o", "extended_l2=on,cluster_size=131072"]],
    ["compressed with zstd", ["-c", "-o", "compression_type=zstd"]],
  ])("qcow2 %s", async (_how, args) => {
    const image = await inspecting(await qcow2Image({ args }));
    expect(image).toMatchObject({ format: "qcow2", virtualSizeBytes: rawDisk().length });
  });

  it("a raw disk with a partition table", async () => {
    const disk = rawDisk();
    expect(await inspecting(disk)).toMatchObject({ format: "raw", virtualSizeBytes: disk.length });
  });
});

describe("a file that is no usable image is refused with its reason", () => {
  const iso = Buffer.alloc(65_536);
  iso.write("CD001", 32_769);
  const hybridIso = rawDisk();
  hybridIso.write("CD001", 32_769);
  it.each([
    ["empty", Buffer.alloc(0), /it is empty/],
    ["zeros", Buffer.alloc(1_048_576), /neither qcow2 nor a disk/],
    ["a web page", Buffer.from("<!DOCTYPE html><html>Sign in</html>"), /web page/],
    ["text", Buffer.from("not found\n"), /text file/],
    ["gzip", Buffer.from([0x1f, 0x8b, 8, 0, 0]), /gzip/],
    ["xz", Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1]), /xz/],
    ["an ISO", iso, /ISO/],
    ["an ISO that boots from a stick", hybridIso, /ISO/],
    ["a truncated raw disk", rawDisk().subarray(0, 1_500_000), /truncated/],
    ["qcow version 1", Buffer.from([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 1, 0, 0, 0, 0]), /version 1/],
  ])("%s", async (_what, content, reason) => {
    await expect(inspecting(content)).rejects.toMatchObject({
      code: "image_invalid",
      message: expect.stringMatching(reason),
    });
  });

  it.each(["vmdk", "vdi", "vhdx"])("%s, with the way to convert it", async (format) => {
    await using scratch = await createScratch();
    const path = join(scratch.root, `disk.${format}`);
    await qemuImg("create", "-f", format, path, "8M");
    await expect(inspectImageFile(path)).rejects.toThrow(/convert it: qemu-img convert/);
  });

  it("a qcow2 with a backing file, which could be any file of this host", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.root, "evil.qcow2");
    await qemuImg("create", "-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/shadow", path, "8M");
    await expect(inspectImageFile(path)).rejects.toThrow(/backing file/);
  });

  it("a qcow2 whose data is in another file", async () => {
    await using scratch = await createScratch();
    const path = join(scratch.root, "evil.qcow2");
    const data = join(scratch.root, "data.raw");
    await qemuImg("create", "-f", "qcow2", "-o", `data_file=${data}`, path, "8M");
    await expect(inspectImageFile(path)).rejects.toThrow(/data is in another file/);
  });

  it("an encrypted qcow2", async () => {
    const content = await qcow2Image();
    content.writeUInt32BE(2, 32);
    await expect(inspecting(content)).rejects.toThrow(/encrypted/);
  });

  it.each([
    ["half of it", 0.5],
    ["most of it", 0.9],
    ["the header alone", 0.0001],
  ])("%s of a qcow2", async (_what, share) => {
    const content = await qcow2Image({ contentBytes: 4 * 1024 * 1024 });
    const part = content.subarray(0, Math.max(104, Math.floor(content.length * share)));
    await expect(inspecting(part)).rejects.toThrow(/truncated/);
  });

  it("half of a compressed qcow2", async () => {
    const content = await qcow2Image({ args: ["-c"], contentBytes: 4 * 1024 * 1024 });
    await expect(inspecting(content.subarray(0, content.length / 2))).rejects.toThrow(/truncated/);
  });

  it("a folder", async () => {
    await using scratch = await createScratch();
    await expect(inspectImageFile(scratch.root)).rejects.toThrow(/it is a folder/);
  });

  it("a missing file, which is not found", async () => {
    await expect(inspectImageFile("/nonexistent/x.qcow2")).rejects.toMatchObject({ code: "image_not_found" });
  });

  it("a device, which is no file", async () => {
    await expect(inspectImageFile("/dev/null")).rejects.toThrow(/it is no file/);
  });

  it("one that may not be read", async (context) => {
    if (process.getuid?.() === 0) context.skip("root may read everything");
    await using scratch = await createScratch();
    await mkdir(scratch.downloads);
    const path = join(scratch.downloads, "x.qcow2");
    await writeFile(path, rawDisk());
    await chmod(path, 0);
    await expect(inspectImageFile(path)).rejects.toThrow(/may not read it/);
  });
});

it("any damage to the header ends in a verdict, never in a crash or a hang", async () => {
  const content = await qcow2Image();
  await using scratch = await createScratch();
  const path = join(scratch.root, "fuzzed");
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      async (damages) => {
        const damaged = Buffer.from(content);
        for (const [at, byte] of damages) damaged[at] = byte;
        await writeFile(path, damaged);
        const verdict = await inspectImageFile(path).then(
          () => "usable",
          (error: unknown) => (error instanceof HeyvmError ? error.code : error),
        );
        expect(["usable", "image_invalid"]).toContain(verdict);
      },
    ),
    { numRuns: 200 },
  );
  expect((await readFile(path)).length).toBe(content.length);
});
