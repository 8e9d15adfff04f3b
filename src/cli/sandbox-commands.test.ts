/** Sandboxes from their making to their end, and what is told of those that are not there. */
import { mkdir, readdir, readFile, readlink, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { createTestState } from "../daemon/testing/test-daemon.ts";
import { type CliBench, createCliBench } from "./testing/cli-bench.ts";
import { runCli } from "./testing/run-cli.ts";

let bench: CliBench;

beforeAll(async () => {
  bench = await createCliBench();
});

afterAll(async () => await bench[Symbol.asyncDispose]());

/** A name in the folder, of any bytes. */
function bytesIn(folder: string, latin1: string): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(latin1, "latin1")]);
}

describe("a sandbox", () => {
  test("create, use in every way, remove; nothing is left", { timeout: 300_000 }, async () => {
    const created = await bench.heyvm("create", "--name", "all", "--print-id");
    expect(created.stdout).toMatch(/^sb-[0-9a-f]{8}\n$/);
    const id = created.stdout.trim();

    expect(
      await bench.heyvm("exec", id.slice(0, 8), "-e", "A=1", "--", "sh", "-c", "echo $A; pwd; exit 5"),
    ).toMatchObject({
      exitCode: 5,
      stdout: "1\n/workspace\n",
    });
    expect(await bench.heyvm("exec", "all", "--", "no-such-program")).toMatchObject({ exitCode: 127 });
    expect(await bench.heyvm("exec", "all", "--timeout", "200ms", "--", "sleep", "60")).toMatchObject({
      exitCode: 124,
    });

    const [up, down] = [join(bench.folder, "up"), join(bench.folder, "down")];
    const content = Buffer.from(Array.from({ length: 1_000_001 }, (_, index) => index % 251));
    await writeFile(up, content);
    expect(await bench.heyvm("cp", up, "all:in/file")).toMatchObject({ exitCode: 0 });
    expect(await bench.heyvm("cp", "all:in/file", down)).toMatchObject({ exitCode: 0 });
    expect((await readFile(down)).equals(content)).toBe(true);

    expect(await bench.heyvm("stop", "all")).toMatchObject({ exitCode: 0 });
    expect(await bench.heyvm("exec", "all", "--", "true")).toMatchObject({ exitCode: 125 });
    expect(await bench.heyvm("start", "all")).toMatchObject({ exitCode: 0 });
    expect(await bench.heyvm("rm", "--yes", "all")).toMatchObject({ exitCode: 0 });
    expect(await bench.heyvm("get", "all")).toMatchObject({ exitCode: 3 });
    expect(await readdir(join(bench.folder, "sandboxes"))).toEqual([]);
  });

  test(
    "names that are no UTF-8 go up and come back, of files, folders and links",
    { timeout: 120_000 },
    async () => {
      const [source, back] = [join(bench.folder, "named"), join(bench.folder, "named-back")];
      await mkdir(source);
      await mkdir(bytesIn(source, "d\xfe"));
      await writeFile(bytesIn(source, "d\xfe/f\xff"), "content");
      await writeFile(join(source, "é 💀+%ff"), "plain");
      await symlink(Buffer.from("d\xfe/f\xff", "latin1"), bytesIn(source, "l\xfd"));
      expect(await bench.heyvm("create", "--name", "bytes")).toMatchObject({ exitCode: 0 });
      expect(await bench.heyvm("cp", source, "bytes:named")).toMatchObject({ exitCode: 0 });
      expect(await bench.heyvm("exec", "bytes", "--", "sh", "-c", "cat named/l*; ls -b named")).toMatchObject(
        {
          stdout: expect.stringMatching(/^contentd\\376\nl\\375\n/),
        },
      );
      expect(await bench.heyvm("cp", "bytes:named", back)).toMatchObject({ exitCode: 0 });
      expect(await readFile(bytesIn(back, "d\xfe/f\xff"), "utf8")).toBe("content");
      expect((await readlink(bytesIn(back, "l\xfd"), "buffer")).toString("latin1")).toBe("d\xfe/f\xff");
      expect(await readFile(join(back, "é 💀+%ff"), "utf8")).toBe("plain");
      expect(await bench.heyvm("rm", "--yes", "bytes")).toMatchObject({ exitCode: 0 });
    },
  );

  test.each([
    [["exec", "nobody", "--", "true"], 125],
    // In a path, this would be no name.
    [["exec", "..", "--", "true"], 125],
    [["sh", "nobody"], 125],
    [["sh", ".."], 125],
    [["logs", "--follow", "nobody"], 3],
    [["stop", "nobody"], 3],
  ])("%j names no sandbox", async (words, exitCode) => {
    const failed = await bench.heyvm(...words);
    expect(failed).toMatchObject({ exitCode, stdout: "" });
    const name = words.find((word) => !/^(exec|sh|logs|stop|--.*)$/.test(word));
    expect(failed.stderr).toBe(
      `error: there is no sandbox ${JSON.stringify(name)}\n  hint: heyvm list --all\n`,
    );
  });

  test("a setting for images that the daemon does not know of is told of", async () => {
    const env = { ...bench.options.env, HEYVM_MIRROR_DEBIAN: "http://127.0.0.1:9" };
    const told = await runCli(["images", "list", "--format", "json"], { ...bench.options, env });
    expect(told).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^\[/) });
    expect(told.stderr).toMatch(/mirrors.debian \(HEYVM_MIRROR_DEBIAN\).*kill \d+/);
    expect((await bench.heyvm("images", "list")).stderr).not.toContain("note:");
  });

  test("a description is shown by get, whatever is in it", async () => {
    const description = "for \u001B[31mtrying\nthings";
    const { exitCode } = await bench.heyvm("create", "--name", "told", "--description", description);
    expect(exitCode).toBe(0);
    expect((await bench.heyvm("get", "told")).stdout).toMatch(
      /^description: +for \\x1b\[31mtrying\\x0athings$/m,
    );
    expect((await bench.heyvm("get", "told")).stdout).not.toContain("\u001B");
    expect(JSON.parse((await bench.heyvm("get", "told", "--format", "json")).stdout)).toMatchObject({
      description,
    });
    await bench.heyvm("rm", "--yes", "told");
  });

  test("--no-clone reaches the backend; get tells what became of it, and what it takes of this host's memory", async () => {
    const create = async (...flags: string[]) =>
      JSON.parse((await bench.heyvm("create", "--format", "json", ...flags)).stdout);
    const [plain, booted] = [await create(), await create("--no-clone")];
    expect(plain).not.toHaveProperty("start_reason");
    expect(booted).toMatchObject({
      start_mode: "booted",
      start_reason: expect.stringContaining("asked for"),
    });
    const told = (await bench.heyvm("get", booted.id)).stdout;
    expect(told).toMatch(/^machine: +booted: that was asked for, /m);
    const size = "[\\d.]+ [KM]iB";
    expect(told).toMatch(
      new RegExp(`^host memory: +${size} private, ${size} with its share of what is shared$`, "m"),
    );
    expect(await bench.heyvm("rm", "--yes", plain.id, booted.id)).toMatchObject({ exitCode: 0 });
  });
});

test("why a daemon that is started on demand cannot serve is told by the command that needs it", async () => {
  await using own = await createTestState();
  const path = join(own.folder, "identity.json");
  await writeFile(path, "{");
  const refused = await runCli(["ls"], { env: { MVM_DATA_DIR: own.folder } });
  expect(refused).toMatchObject({
    exitCode: 4,
    stderr: expect.stringContaining(`${path}, which tells whose`),
  });
  expect(refused.stderr).toContain(`rm ${path}`);
});
