import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

import { CommandNotStartableError, GuestRefusedError } from "./errors.ts";
import { startLocalAgent } from "./testing/local-agent.ts";
import { killProcessesWith, processesWith } from "./testing/processes.ts";
import { readText, runCommand } from "./testing/read-all.ts";
import type { ExecRequest } from "./types.ts";

describe("exec", () => {
  test("keeps stdout, stderr and the exit code apart, and gives stdin with its end", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const input = Buffer.from([0, 255, 10, 0, 13]);
    const done = await runCommand(
      session,
      { argv: ["sh", "-c", "od -An -tx1; echo bad >&2; exit 7"] },
      input,
    );
    expect(done).toEqual({
      stdout: " 00 ff 0a 00 0d\n",
      stderr: "bad\n",
      code: 7,
      signal: undefined,
      timedOut: false,
    });
  });

  test("delivers output as it comes, before the command has ended", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const command = await session.exec({ argv: ["sh", "-c", "echo first; read line; echo got $line"] });
    const [first] = await once(command.stdout, "data");
    expect(String(first)).toBe("first\n");
    command.stdin.end("second\n");
    expect(await readText(command.stdout)).toBe("got second\n");
    expect(await command.exit).toMatchObject({ code: 0 });
  });

  test("tells the signal that ended a command", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    expect(await runCommand(session, { argv: ["sh", "-c", "kill -USR1 $$"] })).toMatchObject({
      code: undefined,
      signal: "SIGUSR1",
    });
    const realTime = await runCommand(session, { argv: ["sh", "-c", "kill -40 $$"] });
    expect(realTime).toMatchObject({ code: 168, signal: undefined });
  });

  test("has a sane environment that the request adds to", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const { stdout } = await runCommand(session, { argv: ["env"], env: { A: "b c\n", LANG: "C" } });
    expect(stdout).toContain("A=b c\n");
    expect(stdout).toContain("LANG=C\n");
    expect(stdout).toMatch(/^PATH=\/usr\/local\/sbin:/mu);
    expect(stdout).toMatch(/^HOME=\//mu);
    expect(stdout).not.toContain("TERM=");
  });

  test.skipIf(process.getuid?.() !== 0)("becomes another user with its groups and home", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const script = "id -u; id -G; echo $HOME; echo $USER";
    const { stdout } = await runCommand(session, { argv: ["sh", "-c", script], user: "daemon", cwd: "/" });
    expect(stdout).toBe("1\n1\n/usr/sbin\ndaemon\n");
    expect((await runCommand(session, { argv: ["id", "-u"], user: "4711", cwd: "/" })).stdout).toBe("4711\n");
  });

  test.each<[string, ExecRequest]>([
    ["program_not_found", { argv: ["no-such-program"] }],
    ["program_not_found", { argv: ["/no/such/program"] }],
    ["not_executable", { argv: ["/etc/passwd"] }],
    ["not_executable", { argv: ["/etc"] }],
    ["cwd_not_found", { argv: ["true"], cwd: "/no/such/folder" }],
    ["cwd_not_a_directory", { argv: ["true"], cwd: "/etc/passwd" }],
    ["user_not_found", { argv: ["true"], user: "no-such-user" }],
    ["arguments_too_long", { argv: ["true", "x".repeat(200_000)] }],
  ])("says %s before anything runs", async (reason, request) => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const failure = session.exec(request);
    await expect(failure).rejects.toBeInstanceOf(CommandNotStartableError);
    await expect(failure).rejects.toMatchObject({ code: "command_not_startable", details: { reason } });
  });

  test("tells a script's missing interpreter from a missing script", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const path = join(agent.folder, "script");
    await session.files.write(path, bytes("#!/no/such/interpreter\n"), { mode: 0o755 });
    await expect(session.exec({ argv: [path] })).rejects.toMatchObject({
      details: { reason: "interpreter_not_found" },
    });
  });

  test("takes arguments of a hundred kilobytes, and refuses those of megabytes", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const long = "y".repeat(100_000);
    expect((await runCommand(session, { argv: ["printf", "%s", long] })).stdout).toBe(long);
    await expect(session.exec({ argv: ["true", "x".repeat(2_000_000)] })).rejects.toBeInstanceOf(
      GuestRefusedError,
    );
    expect(await runCommand(session, { argv: ["true"] })).toMatchObject({ code: 0 });
  });

  test("at its timeout kills grandchildren, too, and delivers what was printed", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const mark = `HEYVM_MARK=${agent.folder}`;
    const script =
      "trap '' TERM; setsid -f true; sh -c 'trap \"\" TERM; sleep 4711' & echo before; wait; sleep 4711";
    let printed = "";
    // How long it takes to print something is the machine's business.
    for (let timeoutMs = 200; printed === ""; timeoutMs *= 2) {
      const env = { HEYVM_MARK: agent.folder };
      const done = await runCommand(session, { argv: ["sh", "-c", script], env, timeoutMs });
      expect(done).toMatchObject({ timedOut: true, signal: "SIGKILL" });
      await expect.poll(() => processesWith(mark)).toEqual([]);
      printed = done.stdout;
    }
    expect(printed).toBe("before\n");
  });

  test.each([
    ["at its timeout", 1000, 0],
    ["cancelled", undefined, 4],
  ])("%s takes along what has left its session, twice over", async (_how, timeoutMs, awaited) => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const mark = `HEYVM_MARK=${agent.folder}`;
    const script = "setsid sleep 4711 & setsid -f sh -c 'setsid -f sleep 4712; sleep 4713'; wait";
    const env = { HEYVM_MARK: agent.folder };
    const controller = new AbortController();
    const { signal } = controller;
    const command = await session.exec({ argv: ["sh", "-c", script], env, timeoutMs }, { signal });
    const ended = command.exit.catch((error: unknown) => error);
    await expect.poll(async () => (await processesWith(mark)).length).toBeGreaterThanOrEqual(awaited);
    if (timeoutMs === undefined) controller.abort();
    await ended;
    await expect.poll(() => processesWith(mark)).toEqual([]);
  });

  test("ends with its main process although a background process holds its output open", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const command = await session.exec({ argv: ["sh", "-c", "sleep 4711 & echo $!; seq 1 60000"] });
    command.stdin.end();
    const output = await readText(command.stdout);
    const [background] = output.split("\n");
    expect(output.endsWith("\n60000\n")).toBe(true);
    expect(await command.exit).toMatchObject({ code: 0 });
    process.kill(Number(background), "SIGKILL");
  });

  test("sends signals to the whole group", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const command = await session.exec({
      argv: ["sh", "-c", "sleep 4711 & sh -c 'sleep 4711; true' & echo up; wait"],
      env: { HEYVM_MARK: agent.folder },
    });
    await once(command.stdout, "data");
    command.kill("SIGTERM");
    expect(await command.exit).toMatchObject({ signal: "SIGTERM" });
    await expect.poll(() => processesWith(`HEYVM_MARK=${agent.folder}`)).toEqual([]);
  });

  test("cancelled by its signal is killed in the guest", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const controller = new AbortController();
    const command = await session.exec({ argv: ["sleep", "4711"] }, { signal: controller.signal });
    controller.abort();
    await expect(command.exit).rejects.toMatchObject({ code: "aborted" });
    await expect.poll(async () => await session.commands()).toEqual([]);
  });

  test.each(["fifo", "socket"])("detached is refused with a %s for its output, at once", async (kind) => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const stdoutPath = join(agent.folder, kind);
    const make = {
      fifo: "os.mkfifo(sys.argv[1])",
      socket: "socket.socket(socket.AF_UNIX).bind(sys.argv[1])",
    }[kind];
    execFileSync("python3", ["-c", `import os, socket, sys; ${make}`, stdoutPath]);
    const detached = { stdoutPath, stderrPath: "/dev/null" };
    await expect(session.exec({ argv: ["true"], detached })).rejects.toThrow(stdoutPath);
    expect(await session.ping()).toBeGreaterThan(0);
  });

  test("detached goes on when the session ends, writes its files, and can be signalled by the next", async () => {
    await using agent = startLocalAgent();
    const stdoutPath = join(agent.folder, "out");
    const stderrPath = join(agent.folder, "err");
    const first = await agent.connect();
    const script = "echo out; echo err >&2; sleep 4711";
    const command = await first.exec({ argv: ["sh", "-c", script], detached: { stdoutPath, stderrPath } });
    const attached = await first.exec({ argv: ["sleep", "4712"] });
    await first.close();
    await expect(attached.exit).rejects.toMatchObject({ code: "guest_failed" });
    await using second = await agent.connect();
    // The last that it writes: killed before, it had written less.
    await expect.poll(async () => await readFile(stderrPath, "utf8")).toBe("err\n");
    const commands = await second.commands();
    expect(commands.filter((found) => found.detached).map((found) => found.pid)).toEqual([command.pid]);
    await second.signal(command.pid, "SIGKILL");
    await expect.poll(async () => await second.commands()).toEqual([]);
    expect(await readFile(stdoutPath, "utf8")).toBe("out\n");
    expect(await readFile(stderrPath, "utf8")).toBe("err\n");
  });

  test("detached is no part of a later session's command that was opened at the same place", async () => {
    await using agent = startLocalAgent();
    const mark = `HEYVM_MARK=${agent.folder}`;
    const running = async () => await processesWith(mark);
    const detached = { stdoutPath: "/dev/null", stderrPath: "/dev/null" };
    const env = { HEYVM_MARK: agent.folder };
    {
      await using first = await agent.connect();
      await first.exec({ argv: ["sh", "-c", "setsid sleep 4711 & wait"], env, detached });
      await expect.poll(async () => (await running()).length).toBe(2);
    }
    await using second = await agent.connect();
    const done = await runCommand(second, { argv: ["sleep", "4712"], timeoutMs: 100 });
    const left = await running();
    await killProcessesWith(mark);
    expect(done).toMatchObject({ timedOut: true });
    expect(left).toHaveLength(2);
  });
});

describe("a terminal", () => {
  test("is the command's controlling one, has a size, and hears of a new size", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const script =
      "trap 'stty size; exit' WINCH; stty size; tty </dev/tty >/dev/null && echo ready; while :; do sleep 0.02; done";
    const command = await session.exec({ argv: ["sh", "-c", script], terminal: { cols: 81, rows: 25 } });
    let output = "";
    command.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes("ready") && !output.includes("101")) command.resize({ cols: 101, rows: 33 });
    });
    expect(await command.exit).toMatchObject({ code: 0 });
    expect(output).toMatch(/^25 81\r\nready\r\n33 101\r\n$/u);
  });

  test("is outlived by what has left its session, as after a logout", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const mark = `HEYVM_MARK=${agent.folder}`;
    const controller = new AbortController();
    const script = "setsid -f sleep 4711; exec sleep 4712";
    const request = {
      argv: ["sh", "-c", script],
      env: { HEYVM_MARK: agent.folder },
      terminal: { cols: 80, rows: 24 },
    } as const;
    const command = await session.exec(request, { signal: controller.signal });
    const ended = command.exit.catch((error: unknown) => error);
    const sleeping = async () => {
      const lines = await Promise.all(
        (await processesWith(mark)).map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")),
      );
      return lines.map((line) => line.replaceAll("\0", " ").trim()).toSorted();
    };
    await expect.poll(sleeping).toEqual(["sleep 4711", "sleep 4712"]);
    controller.abort();
    await ended;
    await expect.poll(sleeping).toEqual(["sleep 4711"]);
    await killProcessesWith(mark);
  });

  test("takes keys: Ctrl-C interrupts, the end of input is Ctrl-D", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    // Says so itself that it is what the key will meet.
    const script = "sh -c 'echo go; exec sleep 4711' || echo interrupted";
    const command = await session.exec({
      argv: ["bash", "-ic", `trap : INT; ${script}`],
      terminal: { cols: 80, rows: 24 },
    });
    command.stdout.once("data", () => command.stdin.write("\u0003"));
    await command.exit;
    const cat = await session.exec({ argv: ["cat"], terminal: { cols: 80, rows: 24 } });
    cat.stdin.end("line\n");
    expect(await readText(cat.stdout)).toBe("line\r\nline\r\n");
    expect(await cat.exit).toMatchObject({ code: 0 });
  });
});

async function* bytes(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}
