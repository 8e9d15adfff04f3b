import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { largeImage } from "../daemon/testing/test-images.ts";
import { startNetworkTo } from "../sdk/testing/bad-network.ts";
import { parseMessage } from "../sdk/wire.ts";
import { type CliBench, createCliBench } from "./testing/cli-bench.ts";
import { cliEnvironment, type CliOptions, mainPath, tsxLoader } from "./testing/run-cli.ts";

const ptyRun = fileURLToPath(new URL("testing/pty-run.py", import.meta.url));

let bench: CliBench;

beforeAll(async () => {
  bench = await createCliBench();
  await bench.create("web");
});

afterAll(async () => await bench[Symbol.asyncDispose]());

interface Screen {
  /** All that was written to the terminal. */
  text(): string;
  /** Resolves when the text has come. */
  shows(what: string): Promise<void>;
  type(keys: string): void;
  widen(): void;
  /** Exit code, and whether the terminal was left as it was found. */
  end(): Promise<{ exit: number; echo: boolean; canonical: boolean }>;
}

/** `heyvm` on a real terminal of 100 by 30. */
function onTerminal(...words: string[]): Screen {
  return onTerminalOf(bench.options, ...words);
}

function onTerminalOf(options: CliOptions, ...words: string[]): Screen {
  const command = [process.execPath, "--import", tsxLoader, mainPath, ...words];
  const child = spawn("python3", [ptyRun, "100", "30", ...command], {
    stdio: "pipe",
    env: cliEnvironment({ ...options, env: { ...options.env, TERM: "xterm-256color" } }),
  });
  let seen = "";
  let report = "";
  child.stderr.on("data", (chunk: Buffer) => (report += chunk.toString()));
  child.stdout.on("data", (chunk: Buffer) => (seen += chunk.toString()));
  return {
    text: () => seen,
    shows: async (what) => await expect.poll(() => seen).toContain(what),
    type: (keys) => void child.stdin.write(keys),
    widen: () => void child.kill("SIGUSR1"),
    async end() {
      if (child.exitCode === null) await once(child, "close");
      return parseMessage(report.trim().split("\n").at(-1) ?? "");
    },
  };
}

const asFound = { echo: true, canonical: true };
/** What bash shows before each line, in a guest without any settings of its own. */
const prompt = "# ";

describe("sh on a terminal", () => {
  test("keys go through raw, Ctrl-C included; the exit code comes back; the terminal is as it was", async () => {
    const screen = onTerminal("sh", "web");
    await screen.shows(prompt);
    // Words that are shown are not what was typed: the guest's terminal echoes that.
    screen.type("stty size; stty raw; echo ready''-now; od -An -tx1 -N3; stty sane; exit 5\r");
    await screen.shows("30 100");
    await screen.shows("ready-now");
    screen.type("\u0003\u001A\u007F");
    await screen.shows(" 03 1a 7f");
    expect(await screen.end()).toEqual({ exit: 5, ...asFound });
  });

  test("Ctrl-C ends what runs in the guest, not the shell", async () => {
    const screen = onTerminal("sh", "web");
    await screen.shows(prompt);
    screen.type("PS1='next''> '; echo begun''-now; sleep 600\r");
    await screen.shows("begun-now");
    screen.type("\u0003");
    await screen.shows("next> ");
    screen.type("exit $(($? - 100))\r");
    expect(await screen.end()).toEqual({ exit: 30, ...asFound });
  });

  test("a new size of the window reaches the guest", async () => {
    const screen = onTerminal("sh", "web");
    await screen.shows(prompt);
    // Not by bash itself: it puts each command of a loop alone into the foreground, and only that is told of the size.
    const script = "trap 'stty size; exit 5' WINCH; echo ready''-now; while :; do sleep 0.1; done";
    screen.type(`exec sh -c "${script}"\r`);
    await screen.shows("ready-now");
    screen.widen();
    await screen.shows("30 120");
    expect(await screen.end()).toEqual({ exit: 5, ...asFound });
  });

  test("a connection that breaks comes back to the same shell", async () => {
    const screen = onTerminal("sh", "web");
    await screen.shows(prompt);
    screen.type("word=ti''de; echo rea''dy\r");
    await screen.shows("ready");
    bench.cut();
    screen.type("echo high-$word; exit 3\r");
    expect(await screen.end()).toEqual({ exit: 3, ...asFound });
    expect(screen.text()).toContain("high-tide");
  });

  test("a connection that stays broken is told, and so is its return", async () => {
    await using network = await startNetworkTo(bench.daemon.socketPath);
    if (network.endpoint.kind === "url") throw new Error("no unix socket");
    const screen = onTerminalOf({ ...bench.options, socketPath: network.endpoint.socketPath }, "sh", "web");
    await screen.shows(prompt);
    network.isDown = true;
    network.cut();
    await screen.shows("[heyvm: the connection broke and is tried again for a minute; Enter ~. leaves]");
    screen.type("exit 3\r");
    network.isDown = false;
    await screen.shows("[heyvm: the connection is back]");
    expect(await screen.end()).toEqual({ exit: 3, ...asFound });
  });

  test("Enter ~. leaves a connection that stays broken", async () => {
    await using network = await startNetworkTo(bench.daemon.socketPath);
    if (network.endpoint.kind === "url") throw new Error("no unix socket");
    const screen = onTerminalOf({ ...bench.options, socketPath: network.endpoint.socketPath }, "sh", "web");
    await screen.shows(prompt);
    network.isDown = true;
    network.cut();
    await screen.shows("Enter ~. leaves");
    screen.type("\r~.");
    expect(await screen.end()).toEqual({ exit: 1, ...asFound });
  });

  test("a daemon that ends gives the terminal back, and takes back what the guest left on", async () => {
    await using other = await createCliBench();
    await other.create("web");
    const screen = onTerminalOf({ ...other.options, socketPath: other.daemon.socketPath }, "sh", "web");
    await screen.shows(prompt);
    screen.type(String.raw`printf '\033[?1049hfull-%s' screen` + "\r");
    await screen.shows("\u001B[?1049hfull-screen");
    await other.daemon.kill("SIGKILL");
    expect(await screen.end()).toEqual({ exit: 125, ...asFound });
    expect(screen.text().split("full-screen").at(-1)).toContain("\u001B[?1049l");
    expect(screen.text()).toContain("ended unexpectedly");
  });

  test("~. at the beginning of a line leaves", async () => {
    const screen = onTerminal("sh", "web");
    await screen.shows(prompt);
    screen.type("echo do''ne\r~.");
    expect(await screen.end()).toEqual({ exit: 1, ...asFound });
  });
});

describe("questions", () => {
  test("rm asks, and does nothing without a yes", async () => {
    const screen = onTerminal("rm", "web");
    await screen.shows("Remove web and everything in it? [y/N] ");
    screen.type("\r");
    expect(await screen.end()).toEqual({ exit: 0, ...asFound });
    expect(bench.requests.filter((request) => request.startsWith("DELETE"))).toEqual([]);
    expect((await bench.daemon.call("GET", "/sandboxes/web")).json).toMatchObject({ status: "running" });
  });

  test("Ctrl-C at a question leaves with 130", async () => {
    const screen = onTerminal("rm", "web");
    await screen.shows("[y/N] ");
    screen.type("\u0003");
    expect(await screen.end()).toEqual({ exit: 130, ...asFound });
  });

  test("doctor --fix asks for each remedy, runs those with a yes only, and looks again", async () => {
    const folder = await mkdtemp(join(bench.folder, "doctor-"));
    await bench.want(join(folder, "first"), join(folder, "second"));
    const screen = onTerminal("doctor", "--fix");
    await screen.shows(`Run \`touch ${folder}/first\`? [y/N] `);
    screen.type("n\r");
    await screen.shows(`Run \`touch ${folder}/second\`? [y/N] `);
    screen.type("y\r");
    expect(await screen.end()).toEqual({ exit: 5, ...asFound });
    expect(await readdir(folder)).toEqual(["second"]);
    expect(screen.text()).toMatch(/2 failures,.*1 failure, 1 warning, 1 of 3/s);
  });
});

describe("progress on a terminal", () => {
  test("a download shows a bar with size and share, and leaves one line", async () => {
    const screen = onTerminal("create", "--image", largeImage);
    expect(await screen.end()).toEqual({ exit: 1, ...asFound });
    expect(screen.text()).toContain("██████████░░░░░░░░░░▏  50%  128 MiB of 256 MiB");
    expect(screen.text().split(/✓.* Downloading fedora:43 {2}/)).toEqual([
      expect.anything(),
      expect.stringMatching(/^.\[2m\d+\.\ds/),
    ]);
    expect(screen.text()).toContain("no room");
  });
});
