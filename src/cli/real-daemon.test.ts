/** The command line against the real server and the real agent; the machine is a process of this host. */
import { once } from "node:events";
import { mkdir, readdir, readFile, readlink, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";
import { type CliResult, runCli, spawnCli } from "./testing/run-cli.ts";

let state: Awaited<ReturnType<typeof createTestState>>;
let daemon: TestDaemon;

beforeAll(async () => {
  state = await createTestState();
  daemon = await startTestDaemon(state.folder);
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
});

function options(): { socketPath: string; env: NodeJS.ProcessEnv } {
  return { socketPath: daemon.socketPath, env: { MVM_DATA_DIR: state.folder } };
}

async function heyvm(...words: string[]): Promise<CliResult> {
  return await runCli(words, options());
}

/** A name in the folder, of any bytes. */
function bytesIn(folder: string, latin1: string): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(latin1, "latin1")]);
}

describe("with a real daemon", () => {
  test("create, use in every way, remove; nothing is left", { timeout: 300_000 }, async () => {
    const created = await heyvm("create", "--name", "all", "--print-id");
    expect(created.stdout).toMatch(/^sb-[0-9a-f]{8}\n$/);
    const id = created.stdout.trim();

    expect(
      await heyvm("exec", id.slice(0, 8), "-e", "A=1", "--", "sh", "-c", "echo $A; pwd; exit 5"),
    ).toMatchObject({
      exitCode: 5,
      stdout: "1\n/workspace\n",
    });
    expect(await heyvm("exec", "all", "--", "no-such-program")).toMatchObject({ exitCode: 127 });
    expect(await heyvm("exec", "all", "--timeout", "200ms", "--", "sleep", "60")).toMatchObject({
      exitCode: 124,
    });

    const [up, down] = [join(state.folder, "up"), join(state.folder, "down")];
    const content = Buffer.from(Array.from({ length: 1_000_001 }, (_, index) => index % 251));
    await writeFile(up, content);
    expect(await heyvm("cp", up, "all:in/file")).toMatchObject({ exitCode: 0 });
    expect(await heyvm("cp", "all:in/file", down)).toMatchObject({ exitCode: 0 });
    expect((await readFile(down)).equals(content)).toBe(true);

    expect(await heyvm("stop", "all")).toMatchObject({ exitCode: 0 });
    expect(await heyvm("exec", "all", "--", "true")).toMatchObject({ exitCode: 125 });
    expect(await heyvm("start", "all")).toMatchObject({ exitCode: 0 });
    expect(await heyvm("rm", "--yes", "all")).toMatchObject({ exitCode: 0 });
    expect(await heyvm("get", "all")).toMatchObject({ exitCode: 3 });
    expect(await readdir(join(state.folder, "sandboxes"))).toEqual([]);
  });

  test(
    "names that are no UTF-8 go up and come back, of files, folders and links",
    { timeout: 120_000 },
    async () => {
      const [source, back] = [join(state.folder, "named"), join(state.folder, "named-back")];
      await mkdir(source);
      await mkdir(bytesIn(source, "d\xfe"));
      await writeFile(bytesIn(source, "d\xfe/f\xff"), "content");
      await writeFile(join(source, "é 💀+%ff"), "plain");
      await symlink(Buffer.from("d\xfe/f\xff", "latin1"), bytesIn(source, "l\xfd"));
      expect(await heyvm("create", "--name", "bytes")).toMatchObject({ exitCode: 0 });
      expect(await heyvm("cp", source, "bytes:named")).toMatchObject({ exitCode: 0 });
      expect(await heyvm("exec", "bytes", "--", "sh", "-c", "cat named/l*; ls -b named")).toMatchObject({
        stdout: expect.stringMatching(/^contentd\\376\nl\\375\n/),
      });
      expect(await heyvm("cp", "bytes:named", back)).toMatchObject({ exitCode: 0 });
      expect(await readFile(bytesIn(back, "d\xfe/f\xff"), "utf8")).toBe("content");
      expect((await readlink(bytesIn(back, "l\xfd"), "buffer")).toString("latin1")).toBe("d\xfe/f\xff");
      expect(await readFile(join(back, "é 💀+%ff"), "utf8")).toBe("plain");
      expect(await heyvm("rm", "--yes", "bytes")).toMatchObject({ exitCode: 0 });
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
    const failed = await heyvm(...words);
    expect(failed).toMatchObject({ exitCode, stdout: "" });
    const name = words.find((word) => !/^(exec|sh|logs|stop|--.*)$/.test(word));
    expect(failed.stderr).toBe(
      `error: there is no sandbox ${JSON.stringify(name)}\n  hint: heyvm list --all\n`,
    );
  });

  test("a setting for images that the daemon does not know of is told of", async () => {
    const env = { ...options().env, HEYVM_MIRROR_DEBIAN: "http://127.0.0.1:9" };
    const told = await runCli(["images", "list", "--format", "json"], { ...options(), env });
    expect(told).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^\[/) });
    expect(told.stderr).toMatch(/mirrors.debian \(HEYVM_MIRROR_DEBIAN\).*kill \d+/);
    expect((await heyvm("images", "list")).stderr).not.toContain("note:");
  });

  test("--no-clone reaches the backend; get tells what became of it, and what it takes of this host's memory", async () => {
    const create = async (...flags: string[]) =>
      JSON.parse((await heyvm("create", "--format", "json", ...flags)).stdout);
    const [plain, booted] = [await create(), await create("--no-clone")];
    expect(plain).not.toHaveProperty("start_reason");
    expect(booted).toMatchObject({
      start_mode: "booted",
      start_reason: expect.stringContaining("asked for"),
    });
    const told = (await heyvm("get", booted.id)).stdout;
    expect(told).toMatch(/^machine: +booted: that was asked for, /m);
    const size = "[\\d.]+ [KM]iB";
    expect(told).toMatch(
      new RegExp(`^host memory: +${size} private, ${size} with its share of what is shared$`, "m"),
    );
    expect(await heyvm("rm", "--yes", plain.id, booted.id)).toMatchObject({ exitCode: 0 });
  });

  test("run leaves nothing, and its exit code is the command's", async () => {
    const result = await heyvm("run", "--env", "GREETING=hi", "--", "sh", "-c", "echo $GREETING; exit 3");
    expect(result).toMatchObject({ exitCode: 3, stdout: "hi\n" });
    expect(await readdir(join(state.folder, "sandboxes"))).toEqual([]);
  });

  test("when Ctrl-C during create has left, nothing is left of the sandbox", async () => {
    const child = spawnCli(["create", "--setup-hook", "sleep 60"], options());
    let stderr = "";
    let interrupted = false;
    child.stderr?.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
      // Once: a second one would leave without waiting for the undo.
      if (stderr.includes("Waiting for the guest") && !interrupted) interrupted = child.kill("SIGINT");
    });
    await once(child, "close");
    expect(child.exitCode).toBe(130);
    expect(await readdir(join(state.folder, "sandboxes"))).toEqual([]);
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
