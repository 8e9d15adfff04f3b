import { chmod, mkdir, readFile, readlink, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { type CliBench, createCliBench } from "../testing/cli-bench.ts";
import { runCli } from "../testing/run-cli.ts";

let bench: CliBench;
/** The guest's working directory, as this host sees it. */
let workspace: string;

beforeAll(async () => {
  bench = await createCliBench();
  workspace = join((await bench.create("web")).root, "workspace");
});

afterAll(async () => await bench[Symbol.asyncDispose]());

describe("cp", () => {
  test("a file goes up and comes back with its content and mode", async () => {
    const [up, down] = [join(bench.folder, "up"), join(bench.folder, "down")];
    const content = Buffer.from(Array.from({ length: 300_001 }, (_, index) => index % 253));
    await writeFile(up, content);
    await chmod(up, 0o640);
    expect(await bench.heyvm("cp", up, "web:/data/file")).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await bench.heyvm("cp", "web:/data/file", down)).toMatchObject({ exitCode: 0 });
    expect((await readFile(down)).equals(content)).toBe(true);
    expect((await stat(down)).mode & 0o777).toBe(0o640);
  });

  test("zeros that come from a sandbox take no room", async () => {
    const [up, down] = [join(bench.folder, "zeros"), join(bench.folder, "zeros-back")];
    const size = 64 * 1024 * 1024 + 5;
    await writeFile(up, "head");
    await truncate(up, size);
    expect(await bench.heyvm("cp", up, "web:/data/zeros")).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await bench.heyvm("cp", "web:/data/zeros", down)).toMatchObject({ exitCode: 0 });
    const { size: found, blocks } = await stat(down);
    expect([found, blocks * 512 < 1024 * 1024]).toEqual([size, true]);
    expect((await readFile(down)).subarray(0, 6).toString("latin1")).toBe("head\0\0");
  });

  test("a folder goes into one that exists, with what is in it", async () => {
    const source = join(bench.folder, "project");
    await mkdir(join(source, "deep", "empty"), { recursive: true });
    await writeFile(join(source, "deep", "a.sh"), "echo a");
    await chmod(join(source, "deep", "a.sh"), 0o755);
    expect(await bench.heyvm("cp", source, "web:")).toMatchObject({ exitCode: 0 });
    const back = join(bench.folder, "project-back");
    await mkdir(back);
    const json = await bench.heyvm("cp", "--format", "json", "web:project", back);
    expect(JSON.parse(json.stdout)).toMatchObject({ files: 1, bytes: 6 });
    expect((await stat(join(back, "project", "deep", "a.sh"))).mode & 0o777).toBe(0o755);
    expect((await stat(join(back, "project", "deep", "empty"))).isDirectory()).toBe(true);
  });

  test("- is stdin and stdout", async () => {
    const input = Buffer.from([0, 1, 255, 10, 13]);
    await runCli(["cp", "-", "web:in"], { ...bench.options, input });
    expect((await bench.heyvm("cp", "web:in", "-")).stdoutBytes.equals(input)).toBe(true);
  });

  test("a link is copied as a link, and a later copy does not follow it out of the destination", async () => {
    const guest = join(workspace, "out");
    const [outside, back] = [join(bench.folder, "outside"), join(bench.folder, "links-back")];
    await mkdir(guest);
    await mkdir(outside);
    await symlink(outside, join(guest, "trap"));
    expect(await bench.heyvm("cp", "web:out", back)).toMatchObject({ exitCode: 0 });
    expect(await readlink(join(back, "trap"))).toBe(outside);
    // Now the guest says that it is a folder, with a file in it.
    await rm(join(guest, "trap"));
    await mkdir(join(guest, "trap"));
    await writeFile(join(guest, "trap", "evil"), "x");
    const second = await bench.heyvm("cp", "web:out/.", back);
    expect(second.exitCode).not.toBe(0);
    await expect(stat(join(outside, "evil"))).rejects.toThrow("ENOENT");
    // Nor when it is the copy's own name that the link has.
    const third = await bench.heyvm("cp", "web:out/trap", back);
    expect(third.exitCode).not.toBe(0);
    await expect(stat(join(outside, "evil"))).rejects.toThrow("ENOENT");
  });

  test("what has no content to copy is an error that says what to do, and none of heyvm's own", async () => {
    const device = await bench.heyvm("cp", "/dev/null", "web:x");
    expect(device.exitCode).toBe(2);
    expect(device.stderr).toContain("heyvm cp - ID:PATH");
    const unreadable = await bench.heyvm("cp", "/proc/self/mem", "web:x");
    expect(unreadable.exitCode).not.toBe(0);
    expect(unreadable.stderr).toContain("cannot read /proc/self/mem");
    expect(unreadable.stderr).not.toContain("bug");
  });

  test("a file that is not there is exit code 3, on either side", async () => {
    expect(await bench.heyvm("cp", "web:/nope", ".")).toMatchObject({ exitCode: 3 });
    expect(await bench.heyvm("cp", "/nope", "web:")).toMatchObject({ exitCode: 3 });
    await symlink("nowhere", join(workspace, "dangling"));
    const dangling = await bench.heyvm("cp", "web:dangling", bench.folder);
    expect(dangling).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining(
        "/workspace/dangling is a link to /workspace/nowhere, which does not exist",
      ),
    });
  });
});
