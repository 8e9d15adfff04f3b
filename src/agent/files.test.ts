import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

import { GuestPathNotFoundError } from "./errors.ts";
import { startLocalAgent } from "./testing/local-agent.ts";
import { digest, readAll, readText } from "./testing/read-all.ts";

describe("files", () => {
  test("of many megabytes go up and down with equal checksums", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const path = join(agent.folder, "large");
    const blocks = Array.from({ length: 4 }, () => randomBytes(1_000_003));
    expect(await session.files.write(path, pieces(...blocks, ...blocks), { mode: 0o640 })).toBe(8_000_024);
    const sent = await digest(pieces(...blocks, ...blocks));
    expect(await digest(await session.files.read(path))).toEqual(sent);
    expect(statSync(path).mode & 0o7777).toBe(0o640);
  });

  test("with holes keep them, and their content, on both ways", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const path = join(agent.folder, "sparse");
    const zeros = Buffer.alloc(5_000_000);
    const content = [zeros, Buffer.from("a"), zeros, randomBytes(100_000), zeros];
    const size = content.reduce((sum, { length }) => sum + length, 0);
    expect(await session.files.write(path, pieces(...content))).toBe(size);
    const { size: found, blocks } = statSync(path);
    expect([found, blocks * 512 < 200_000]).toEqual([size, true]);
    const sent = await digest(pieces(...content));
    expect(await digest(await session.files.read(path))).toEqual(sent);
    // Zeros that are stored are none the less zeros.
    writeFileSync(path, Buffer.concat(content));
    expect(await digest(await session.files.read(path))).toEqual(sent);
    const part = await readAll(await session.files.read(path, { offset: 4_999_999, length: 3_000_000 }));
    expect(part.equals(Buffer.concat(content).subarray(4_999_999, 7_999_999))).toBe(true);
    expect(await session.files.write(path, pieces())).toBe(0);
    expect(statSync(path).size).toBe(0);
  });

  test("that were opened and never read are closed again", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const path = join(agent.folder, "unread");
    writeFileSync(path, randomBytes(1_000_000));
    const content = await session.files.read(path);
    content.destroy();
    const count = `ls -l /proc/$PPID/fd | grep -c ${path}`;
    await expect
      .poll(async () => {
        const { stdout, exit } = await session.exec({ argv: ["sh", "-c", count] });
        const counted = await readText(stdout);
        await exit;
        return counted;
      })
      .toBe("0\n");
  });

  test("are read from an offset, for a length", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const path = join(agent.folder, "file");
    writeFileSync(path, "0123456789");
    expect(await readText(await session.files.read(path, { offset: 3, length: 4 }))).toBe("3456");
    expect(await readText(await session.files.read(path, { offset: 99 }))).toBe("");
    expect((await readAll(await session.files.read("/proc/self/stat"))).length).toBeGreaterThan(10);
  });

  test("stay as they were when an upload breaks, and nothing else is left", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const path = join(agent.folder, "in", "file");
    mkdirSync(join(agent.folder, "in"));
    writeFileSync(path, "old");
    await expect(session.files.write(path, broken())).rejects.toThrow(/cancelled|broke/u);
    await session.ping();
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(join(agent.folder, "in"))).toEqual(["file"]);
  });

  test("keep their mode when they are written again, and a link stays a link", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const path = join(agent.folder, "file");
    const link = join(agent.folder, "link");
    writeFileSync(path, "old");
    chmodSync(path, 0o750);
    symlinkSync("file", link);
    await session.files.write(link, pieces(Buffer.from("new")));
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(await session.files.stat(path)).toMatchObject({ type: "file", mode: 0o750, sizeBytes: 3 });
    expect(await session.files.stat(link)).toMatchObject({ type: "symlink", linkTarget: "file" });
    expect(await session.files.stat(link, { follow: true })).toMatchObject({ type: "file" });
  });

  test("have a time that a Date can be, however late they are said to be of", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    // A file system whose times have 64 bits.
    const folder = mkdtempSync("/dev/shm/hv-times-");
    try {
      execFileSync("touch", ["-d", "@99999999999999", join(folder, "late")]);
      const [entry] = await session.files.list(folder);
      expect(new Date(entry?.modifiedMs ?? 0).getUTCFullYear()).toBe(275_760);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("in a tree deeper than any path are removed, and what a link leads to is not", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const outside = join(agent.folder, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "stays"), "");
    const script = `
import os, sys
os.chdir(sys.argv[1])
for level in range(3000):
    os.mkdir("d" * 20); os.mkdir(b"\\xff"); open("f", "w").close(); os.symlink(sys.argv[2], "link"); os.chdir("d" * 20)
`;
    const tree = join(agent.folder, "tree");
    mkdirSync(tree);
    execFileSync("python3", ["-c", script, tree, outside]);
    await session.files.remove(tree, { recursive: true, timeoutMs: 60_000 });
    expect(readdirSync(agent.folder)).not.toContain("tree");
    expect(readdirSync(outside)).toEqual(["stays"]);
  });

  test("are listed with strange names and all, made, renamed and removed", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const { files } = session;
    const folder = join(agent.folder, "a/b c/ü\n");
    await expect(files.makeDirectory(folder)).rejects.toBeInstanceOf(GuestPathNotFoundError);
    await files.makeDirectory(folder, { recursive: true, mode: 0o700 });
    expect(await files.stat(folder)).toMatchObject({ type: "directory", mode: 0o700 });
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0xfe])]), "x");
    const [entry] = await files.list(folder);
    expect(entry).toMatchObject({ type: "file", sizeBytes: 1 });
    expect(await readText(await files.read(entry?.path ?? ""))).toBe("x");
    await files.rename(entry?.path ?? "", join(folder, "plain"));
    expect((await files.list(folder)).map((found) => found.name)).toEqual(["plain"]);
    await expect(files.remove(folder)).rejects.toMatchObject({ details: { reason: "not_empty" } });
    await files.remove(join(agent.folder, "a"), { recursive: true });
    await expect(files.stat(join(agent.folder, "a"))).rejects.toBeInstanceOf(GuestPathNotFoundError);
  });

  test("of a folder with thousands of entries are all listed", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const folder = join(agent.folder, "many");
    mkdirSync(folder);
    for (let at = 0; at < 5000; at++) writeFileSync(join(folder, `file-${at}`), "");
    expect((await session.files.list(folder)).length).toBe(5000);
  });

  test("make parents on demand only", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const path = join(agent.folder, "x/y/z");
    await expect(session.files.write(path, pieces(Buffer.from("1")))).rejects.toBeInstanceOf(
      GuestPathNotFoundError,
    );
    expect(await session.files.write(path, pieces(Buffer.from("1")), { makeParents: true })).toBe(1);
  });

  test.each([
    ["is_a_directory", "/etc"],
    ["not_found", "/no/such/file"],
    ["invalid", "relative/path"],
    ["not_a_directory", "/etc/passwd/x"],
    ["invalid", "/with\0nul"],
    ["invalid", `/${"x".repeat(100_000)}`],
  ])("that cannot be read say %s", async (reason, path) => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    await expect(session.files.read(path)).rejects.toMatchObject({ details: { reason } });
  });

  test("whose reader goes away are no longer read", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const stream = await session.files.read("/dev/zero");
    for await (const chunk of stream) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    expect(stream.destroyed).toBe(true);
    expect(await session.ping()).toBeGreaterThan(0);
  });
});

async function* pieces(...blocks: Buffer[]): AsyncGenerator<Buffer> {
  yield* blocks;
}

async function* broken(): AsyncGenerator<Buffer> {
  yield randomBytes(100_000);
  throw new Error("the upload broke");
}
