/** The command line as people and scripts use it, beside a real daemon. */
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { type CliBench, createCliBench } from "./testing/cli-bench.ts";
import { followOutputs, runCli, spawnCli } from "./testing/run-cli.ts";

let bench: CliBench;
let web: Awaited<ReturnType<CliBench["create"]>>;

beforeAll(async () => {
  bench = await createCliBench();
  web = await bench.create("web", { labels: { team: "web" } });
});

afterEach(() => void bench.requests.splice(0));

afterAll(async () => await bench[Symbol.asyncDispose]());

describe("usage", () => {
  test.each([
    [["lst"], /unknown command 'lst'/],
    [["create", "--memory", "2X"], /--memory: "2X" is not a size/],
    [["create", "--type", "ruby"], /Allowed choices are shell, python, node/],
    [["exec", "web"], /there is no command to run/],
    [["list", "--uri", "foo://x"], /--uri: unknown driver "foo"/],
    [["--uri", "qemu:///sesion", "list"], /--uri: .*sesion/],
    [["list", "--backend-type", "docker"], /Allowed choices are libvirt, bubblewrap, microsandbox/],
    [["cp", "a", "b"], /neither a nor b is in a sandbox/],
    [["rm", "web"], /there is no terminal to ask on/],
  ])("%j is a usage error with a hint, exit code 2, and says nothing on stdout", async (words, message) => {
    const result = await runCli(words);
    expect(result).toMatchObject({ exitCode: 2, stdout: "" });
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toContain("hint:");
  });

  test("heyvm alone prints its help", async () => {
    const result = await runCli([]);
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toContain("Usage: heyvm");
  });

  test("--format json may stand before or after the verb, and holds for errors", async () => {
    for (const words of [
      ["--format", "json", "config", "nope"],
      ["config", "nope", "--format=json"],
    ]) {
      const { exitCode, stdout, stderr } = await runCli(words);
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
      expect(JSON.parse(stderr)).toMatchObject({ code: "invalid_argument", exit_code: 2 });
    }
  });
});

describe("results", () => {
  test("a list is a table for people and an array for programs", async () => {
    const { stdout } = await bench.heyvm("list");
    expect(stdout.split("\n").slice(0, 2)).toEqual([
      expect.stringMatching(/^ID +NAME +STATUS +TYPE +IMAGE/),
      expect.stringMatching(/^sb-[0-9a-f]{8} +web +running +shell +ubuntu:24.04 +libvirt +1 +1 GiB/),
    ]);
    const { json: documents } = await bench.daemon.call("GET", "/sandboxes");
    expect(documents).toMatchObject([{ id: web.id, name: "web", labels: { team: "web" } }]);
    expect(JSON.parse((await bench.heyvm("list", "--format", "json")).stdout)).toEqual([
      { ...documents[0], uptime_secs: expect.any(Number) },
    ]);
    expect((await bench.heyvm("list", "--label", "team=db", "--format", "json")).stdout).toBe("[]\n");
  });

  test("what is not there is exit code 3 with the daemon's hint", async () => {
    const result = await bench.heyvm("get", "nobody");
    expect(result).toMatchObject({ exitCode: 3, stdout: "" });
    expect(result.stderr).toContain("hint: heyvm list --all");
  });

  test("a verb for several does the others when one fails", async () => {
    const { id } = await bench.create("other");
    const result = await bench.heyvm("rm", "--yes", "nobody", "other");
    expect(result.exitCode).toBe(3);
    expect(result.stdout).toContain("removed other");
    expect(await bench.heyvm("get", id)).toMatchObject({ exitCode: 3 });
  });

  test("when several fail, each is named with its reason, and what they share is the exit code", async () => {
    const result = await bench.heyvm("rm", "--yes", "nobody", "noone");
    expect(result).toMatchObject({ exitCode: 3, stdout: "" });
    for (const word of ["2 sandboxes failed", "nobody: ", "noone: ", "hint: heyvm list --all"]) {
      expect(result.stderr).toContain(word);
    }
    expect(result.stderr).not.toContain("bug");
  });

  test("create prints the id alone when asked, and its steps on stderr", async () => {
    const result = await bench.heyvm("create", "--name", "new", "--print-id");
    expect(result).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^sb-[0-9a-f]{8}\n$/) });
    expect(result.stderr).toMatch(/^✓ Making a folder {2}\d+\.\ds$/m);
    expect(await bench.heyvm("rm", "--yes", result.stdout.trim())).toMatchObject({
      stdout: expect.stringContaining("removed new"),
    });
  });

  test("prune prints what went, and warns of what may be somebody else's", async () => {
    const machines = join(bench.folder, "machines");
    await mkdir(join(machines, "sb-0000000b"));
    await mkdir(join(machines, "sb-0000000a", "root", "lasting"), { recursive: true });
    expect(await bench.heyvm("prune")).toMatchObject({
      exitCode: 0,
      stdout: "removed machine sb-0000000b\n",
      stderr: "warning: kept machine sb-0000000a\n",
    });
    await mkdir(join(machines, "sb-0000000b"));
    expect(JSON.parse((await bench.heyvm("prune", "--format", "json")).stdout)).toEqual({
      removed: ["machine sb-0000000b"],
      warnings: ["kept machine sb-0000000a"],
    });
    await rm(join(machines, "sb-0000000a"), { recursive: true });
    expect(await readdir(machines)).toEqual([web.id]);
  });
});

describe("doctor --fix", () => {
  test("--yes runs every remedy without a question, once each, and ends well when all is mended", async () => {
    const folder = await mkdtemp(join(bench.folder, "doctor-"));
    await bench.want(join(folder, "first"), join(folder, "second"));
    const { exitCode, stdout, stderr } = await bench.heyvm("doctor", "--fix", "--yes");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("2 failures, 1 warning, 0 of 3 checks are fine");
    expect(stdout).toContain("\n1 warning, 2 of 3 checks are fine");
    expect(stderr.match(/running /g)).toHaveLength(2);
    expect(await readdir(folder)).toEqual(["first", "second"]);
  });

  test("without a terminal to ask on, nothing is run", async () => {
    const folder = await mkdtemp(join(bench.folder, "doctor-"));
    await bench.want(join(folder, "first"));
    const { exitCode, stderr } = await bench.heyvm("doctor", "--fix");
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--yes") });
    expect(await readdir(folder)).toEqual([]);
  });

  test("a remedy that fails is told with its exit code, and the finding stays", async () => {
    await bench.want("/nonexistent/first");
    const { exitCode, stderr } = await bench.heyvm("doctor", "--fix", "--yes");
    expect(exitCode).toBe(5);
    expect(stderr).toMatch(/`touch \/nonexistent\/first` failed with exit code 1/);
  });
});

describe("exec", () => {
  test("streams stay apart and the exit code is the command's", async () => {
    const result = await bench.heyvm("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7");
    expect(result).toMatchObject({ exitCode: 7, stdout: "out\n", stderr: "err\n" });
    expect(bench.requests).toEqual(["GET /health", "GET /sandboxes/web/exec"]);
  });

  test("binary input passes unchanged, and its end is passed on", async () => {
    const input = Buffer.from(Array.from({ length: 1_000_003 }, (_, index) => (index * 7) % 256));
    const result = await runCli(["exec", "web", "--", "cat"], { ...bench.options, input });
    expect(result.exitCode).toBe(0);
    expect(result.stdoutBytes.equals(input)).toBe(true);
  });

  test("options after the id belong to the command when there is no --", async () => {
    const result = await bench.heyvm("exec", "web", "echo", "--format", "json");
    expect(result).toMatchObject({ exitCode: 0, stdout: "--format json\n" });
  });

  test("a missing program is 127, one that can't be executed 126", async () => {
    await writeFile(join(web.root, "workspace", "plain"), "text");
    expect(await bench.heyvm("exec", "web", "--", "./plain")).toMatchObject({ exitCode: 126 });
    expect(await bench.heyvm("exec", "web", "--", "no-such-program")).toMatchObject({ exitCode: 127 });
  });

  test("a signal that ends the command is 128 + n", async () => {
    expect(await bench.heyvm("exec", "web", "--", "sh", "-c", "kill -KILL $$")).toMatchObject({
      exitCode: 137,
    });
  });

  test("--format json gathers both outputs in one document", async () => {
    const script = "echo out; echo err >&2; exit 3";
    const result = await bench.heyvm("exec", "--format", "json", "web", "--", "sh", "-c", script);
    expect(result.exitCode).toBe(3);
    expect(JSON.parse(result.stdout)).toMatchObject({ stdout: "out\n", stderr: "err\n", exit_code: 3 });
  });

  test("--format json passes its input on, and does not wait for an end of it that the command does not want", async () => {
    const command = ["exec", "--format", "json", "web", "--"];
    const result = await runCli([...command, "cat"], { ...bench.options, input: Buffer.from("words\n") });
    expect(JSON.parse(result.stdout)).toMatchObject({ stdout: "words\n", exit_code: 0 });

    const { stdin, stdout } = spawnCli([...command, "echo", "done"], bench.options);
    if (stdin === null || stdout === null) throw new Error("it has no pipes");
    expect(JSON.parse(await text(stdout))).toMatchObject({ stdout: "done\n" });
    stdin.destroy();
  });

  test("signals reach the command, which decides what they mean", async () => {
    const traps = "trap 'echo got it' INT; trap 'echo enough; exit 9' TERM";
    // Without a pause: of two that came one after the other, each would be told of.
    const script = `${traps}; echo ready; while :; do :; done`;
    const child = spawnCli(["exec", "-n", "web", "--", "sh", "-c", script], bench.options);
    const [stdout] = followOutputs(child);
    await expect.poll(stdout).toBe("ready\n");
    child.kill("SIGINT");
    await expect.poll(stdout).toBe("ready\ngot it\n");
    child.kill("SIGTERM");
    await once(child, "close");
    expect({ stdout: stdout(), exitCode: child.exitCode }).toEqual({
      stdout: "ready\ngot it\nenough\n",
      exitCode: 9,
    });
  });

  test("a reader that goes away ends it quietly", async () => {
    const child = spawnCli(["exec", "web", "--", "yes"], bench.options);
    const [, stderr] = followOutputs(child);
    child.stdout?.once("data", () => child.stdout?.destroy());
    await once(child, "close");
    expect({ stderr: stderr(), exitCode: child.exitCode }).toEqual({ stderr: "", exitCode: 141 });
  });
});

test("a verb finds its sandbox by itself, and tells its name and what it is then", async () => {
  expect(await bench.heyvm("pause", web.id)).toMatchObject({ exitCode: 0, stdout: `paused web ${web.id}\n` });
  expect(bench.requests).toEqual(["GET /health", `POST /sandboxes/${web.id}/pause`]);
  const { stdout } = await bench.heyvm("resume", "web", "--format", "json");
  expect(JSON.parse(stdout)).toMatchObject({ id: web.id, status: "running" });
});

describe("run", () => {
  test("makes, runs, removes; only the command's output is on stdout", async () => {
    const words = ["run", "--image", "debian:12", "--env", "GREETING=hi"];
    const result = await bench.heyvm(...words, "--", "sh", "-c", "echo $GREETING; exit 4");
    expect(result).toMatchObject({ exitCode: 4, stdout: "hi\n" });
    expect(bench.requests.at(-1)).toMatch(/^DELETE \/sandboxes\/sb-/);
    expect(await readdir(join(bench.folder, "sandboxes"))).toEqual([web.id]);
  });
});
