import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { describe, expect, test } from "vitest";

import { createDeferred } from "../core/deferred.ts";
import { createCliBench } from "./testing/cli-bench.ts";
import { webSandbox } from "../sdk/testing/sandbox-document.ts";
import { patient } from "./testing/patient.ts";
import { answerJson } from "../sdk/testing/wire-server.ts";
import { runCli, spawnCli } from "./testing/run-cli.ts";

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
    await using bench = await createCliBench();
    const { stdout } = await bench.heyvm("list");
    expect(stdout.split("\n").slice(0, 2)).toEqual([
      expect.stringMatching(/^ID +NAME +STATUS +TYPE +IMAGE/),
      expect.stringMatching(/^sb-0000000a +web +running +shell +debian:12 +libvirt +1 +1 GiB/),
    ]);
    expect(JSON.parse((await bench.heyvm("list", "--format", "json")).stdout)).toEqual([webSandbox]);
    expect((await bench.heyvm("list", "--label", "team=db", "--format", "json")).stdout).toBe("[]\n");
  });

  test("what is not there is exit code 3 with the daemon's hint", async () => {
    await using bench = await createCliBench();
    const result = await bench.heyvm("get", "nobody");
    expect(result).toMatchObject({ exitCode: 3, stdout: "" });
    expect(result.stderr).toContain("hint: heyvm list --all");
  });

  test("a verb for several does the others when one fails", async () => {
    await using bench = await createCliBench();
    const result = await bench.heyvm("rm", "--yes", "nobody", "web");
    expect(result.exitCode).toBe(3);
    expect(result.stdout).toContain("removed web");
    expect(bench.daemon.requests).toContain(`DELETE /sandboxes/${webSandbox.id}`);
  });

  test("when several fail, each is named with its reason, and what they share is the exit code", async () => {
    await using bench = await createCliBench();
    const result = await bench.heyvm("rm", "--yes", "nobody", "noone");
    expect(result).toMatchObject({ exitCode: 3, stdout: "" });
    for (const word of ["2 sandboxes failed", "nobody: ", "noone: ", "hint: heyvm list --all"]) {
      expect(result.stderr).toContain(word);
    }
    expect(result.stderr).not.toContain("bug");
  });

  test("create prints the id alone when asked, and its steps on stderr", async () => {
    await using bench = await createCliBench();
    const result = await bench.heyvm("create", "--print-id");
    expect(result).toMatchObject({ exitCode: 0, stdout: `${webSandbox.id}\n` });
    expect(result.stderr).toContain("✓ Creating the machine  1.2s");
  });
});

describe("doctor --fix", () => {
  test("--yes runs every remedy without a question, once each, and ends well when all is mended", async () => {
    const folder = await mkdtemp(join(tmpdir(), "hv-"));
    try {
      await using bench = await createCliBench({ doctor: () => patient(folder) });
      const { exitCode, stdout, stderr } = await bench.heyvm("doctor", "--fix", "--yes");
      expect(exitCode).toBe(0);
      expect(stdout).toContain("2 failures");
      expect(stdout).toContain("2 of 2 checks are fine");
      expect(stderr.match(/running /g)).toHaveLength(2);
      expect(await readdir(folder)).toEqual(["first", "second"]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("without a terminal to ask on, nothing is run", async () => {
    const folder = await mkdtemp(join(tmpdir(), "hv-"));
    try {
      await using bench = await createCliBench({ doctor: () => patient(folder) });
      const { exitCode, stderr } = await bench.heyvm("doctor", "--fix");
      expect({ exitCode, stderr }).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--yes") });
      expect(await readdir(folder)).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("a remedy that fails is told with its exit code, and the finding stays", async () => {
    await using bench = await createCliBench({ doctor: () => patient("/nonexistent") });
    const { exitCode, stderr } = await bench.heyvm("doctor", "--fix", "--yes");
    expect(exitCode).toBe(5);
    expect(stderr).toMatch(/`touch \/nonexistent\/first` failed with exit code 1/);
  });
});

describe("exec", () => {
  test("streams stay apart and the exit code is the command's", async () => {
    await using bench = await createCliBench();
    const result = await bench.heyvm("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7");
    expect(result).toMatchObject({ exitCode: 7, stdout: "out\n", stderr: "err\n" });
    expect(bench.daemon.requests).toEqual(["GET /health", "WS /sandboxes/web/exec"]);
  });

  test("binary input passes unchanged, and its end is passed on", async () => {
    await using bench = await createCliBench();
    const input = Buffer.from(Array.from({ length: 1_000_003 }, (_, index) => (index * 7) % 256));
    const result = await runCli(["exec", "web", "--", "cat"], { socketPath: bench.daemon.socketPath, input });
    expect(result.exitCode).toBe(0);
    expect(result.stdoutBytes.equals(input)).toBe(true);
  });

  test("options after the id belong to the command when there is no --", async () => {
    await using bench = await createCliBench();
    const result = await bench.heyvm("exec", "web", "echo", "--format", "json");
    expect(result).toMatchObject({ exitCode: 0, stdout: "--format json\n" });
  });

  test("a missing program is 127, one that can't be executed 126", async () => {
    await using bench = await createCliBench();
    await writeFile(join(bench.folder, "guest", "plain"), "text");
    expect(await bench.heyvm("exec", "web", "--", "./plain")).toMatchObject({ exitCode: 126 });
    expect(await bench.heyvm("exec", "web", "--", "no-such-program")).toMatchObject({ exitCode: 127 });
  });

  test("a signal that ends the command is 128 + n", async () => {
    await using bench = await createCliBench();
    expect(await bench.heyvm("exec", "web", "--", "sh", "-c", "kill -KILL $$")).toMatchObject({
      exitCode: 137,
    });
  });

  test("--format json gathers both outputs in one document", async () => {
    await using bench = await createCliBench();
    const result = await bench.heyvm("exec", "--format", "json", "web", "--", "sh", "-c", "echo out; exit 3");
    expect(result.exitCode).toBe(3);
    expect(JSON.parse(result.stdout)).toMatchObject({ stdout: "out\n", stderr: "", exit_code: 3 });
  });

  test("--format json passes its input on, and does not wait for an end of it that the command does not want", async () => {
    await using bench = await createCliBench();
    const { socketPath } = bench.daemon;
    const command = ["exec", "--format", "json", "web", "--"];
    const result = await runCli([...command, "cat"], { socketPath, input: Buffer.from("words\n") });
    expect(JSON.parse(result.stdout)).toMatchObject({ stdout: "words\n", exit_code: 0 });

    const { stdin, stdout } = spawnCli([...command, "echo", "done"], { socketPath });
    if (stdin === null || stdout === null) throw new Error("it has no pipes");
    expect(JSON.parse(await text(stdout))).toMatchObject({ stdout: "done\n" });
    stdin.destroy();
  });

  test("signals reach the command, which decides what they mean", async () => {
    await using bench = await createCliBench();
    const script = "trap 'echo got it; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    const child = spawnCli(["exec", "-n", "web", "--", "sh", "-c", script], {
      socketPath: bench.daemon.socketPath,
    });
    let stdout = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
      if (stdout === "ready\n") child.kill("SIGINT");
    });
    await once(child, "close");
    expect({ stdout, exitCode: child.exitCode }).toEqual({ stdout: "ready\ngot it\n", exitCode: 9 });
    expect(bench.daemon.signals).toEqual(["SIGINT"]);
  });

  test("a reader that goes away ends it quietly", async () => {
    await using bench = await createCliBench();
    const child = spawnCli(["exec", "web", "--", "yes"], { socketPath: bench.daemon.socketPath });
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdout?.once("data", () => child.stdout?.destroy());
    await once(child, "close");
    expect({ stderr, exitCode: child.exitCode }).toEqual({ stderr: "", exitCode: 141 });
  });
});

describe("run", () => {
  test("makes, runs, removes; only the command's output is on stdout", async () => {
    await using bench = await createCliBench();
    const result = await bench.heyvm("run", "--image", "debian:12", "--", "sh", "-c", "echo hi; exit 4");
    expect(result).toMatchObject({ exitCode: 4, stdout: "hi\n" });
    expect(bench.daemon.requests.at(-1)).toBe(`DELETE /sandboxes/${webSandbox.id}`);
  });

  test("Ctrl-C during start waits until the machine is off again, and leaves with 130", async () => {
    const off = createDeferred<void>();
    let ended = false;
    await using bench = await createCliBench({
      start: (answer) => {
        const step = { type: "step", id: "agent", title: "Waiting for the guest", state: "started" };
        answer.write(`${JSON.stringify({ ...step, elapsed_ms: 0 })}\n`);
      },
      settled: (answer) => {
        ended = child.exitCode !== null;
        answerJson(answer, 200, { ...webSandbox, status: "stopped" });
        off.resolve();
      },
    });
    const child = spawnCli(["start", "web"], { socketPath: bench.daemon.socketPath });
    child.stderr?.once("data", () => child.kill("SIGINT"));
    await once(child, "close");
    await off.promise;
    expect({ ended, exitCode: child.exitCode }).toEqual({ ended: false, exitCode: 130 });
  });
});

describe("interruption", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("%s during create ends it, waits for the undo and leaves with %i", async (signal, code) => {
    const undone = createDeferred<void>();
    let ended = false;
    await using bench = await createCliBench({
      create: (answer) => {
        const accepted = { type: "accepted", id: webSandbox.id };
        answer.write(`${JSON.stringify(accepted)}\n`, () => child.kill(signal));
      },
      remove: (answer) => {
        ended = child.exitCode !== null;
        answer.writeHead(200, { "content-type": "application/json" });
        answer.end("{}", () => undone.resolve());
      },
    });
    const child = spawnCli(["create"], { socketPath: bench.daemon.socketPath });
    const stderr = errorsOf(child);
    await once(child, "close");
    await undone.promise;
    expect({ ended, exitCode: child.exitCode }).toEqual({ ended: false, exitCode: code });
    expect(await stderr).toBe(`error: interrupted by ${signal}: nothing is left of the sandbox\n`);
    expect(bench.daemon.requests.at(-1)).toBe(`DELETE /sandboxes/${webSandbox.id}`);
  });

  test.each(["create", "run"])("%s tells what it leaves when the undo fails", async (verb) => {
    await using bench = await createCliBench({
      create: (answer) => {
        const accepted = { type: "accepted", id: webSandbox.id };
        answer.write(`${JSON.stringify(accepted)}\n`, () => child.kill("SIGTERM"));
      },
      remove: (answer) => answerJson(answer, 500, { error: "libvirt is away", code: "backend_failed" }),
    });
    const words = verb === "run" ? ["run", "--", "true"] : ["create"];
    const child = spawnCli(words, { socketPath: bench.daemon.socketPath });
    const stderr = errorsOf(child);
    await once(child, "close");
    expect(await stderr).toContain(
      `error: interrupted by SIGTERM: ${webSandbox.id} may be left: libvirt is away`,
    );
    expect(await stderr).toContain(`heyvm rm ${webSandbox.id}`);
    expect(child.exitCode).toBe(143);
  });

  test("of several sandboxes leaves with the signal's code, too", async () => {
    await using bench = await createCliBench({
      start: () => {
        begun += 1;
        if (begun === 2) child.kill("SIGTERM");
      },
    });
    let begun = 0;
    const child = spawnCli(["start", "web", webSandbox.id], { socketPath: bench.daemon.socketPath });
    const stderr = errorsOf(child);
    await once(child, "close");
    expect(await stderr).toMatch(/^error: interrupted by SIGTERM$/m);
    expect(child.exitCode).toBe(143);
  });
});

async function errorsOf(child: ChildProcess): Promise<string> {
  return child.stderr === null ? "" : await text(child.stderr);
}
