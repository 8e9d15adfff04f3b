import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { describe, expect, test } from "vitest";

import { parseMessage } from "../sdk/wire.ts";
import { type HostDaemon, startHostDaemon } from "./testing/host-daemon.ts";
import { patient } from "./testing/patient.ts";
import { cliEnvironment, mainPath, tsxLoader } from "./testing/run-cli.ts";

const ptyRun = fileURLToPath(new URL("testing/pty-run.py", import.meta.url));

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
function onTerminal(daemon: HostDaemon, ...words: string[]): Screen {
  const command = [process.execPath, "--import", tsxLoader, mainPath, ...words];
  const child = spawn("python3", [ptyRun, "100", "30", ...command], {
    stdio: "pipe",
    env: cliEnvironment({ socketPath: daemon.socketPath, env: { TERM: "xterm-256color" } }),
  });
  let seen = "";
  let report = "";
  child.stderr.on("data", (chunk: Buffer) => (report += chunk.toString()));
  child.stdout.on("data", (chunk: Buffer) => {
    seen += chunk.toString();
    child.emit("seen");
  });
  return {
    text: () => seen,
    async shows(what) {
      while (!seen.includes(what))
        await Promise.race([once(child, "seen"), failOnEnd(child, what, () => seen)]);
    },
    type: (keys) => void child.stdin.write(keys),
    widen: () => void child.kill("SIGUSR1"),
    async end() {
      if (child.exitCode === null) await once(child, "close");
      return parseMessage(report.trim().split("\n").at(-1) ?? "");
    },
  };
}

async function failOnEnd(child: ReturnType<typeof spawn>, what: string, seen: () => string): Promise<never> {
  if (child.exitCode === null) await once(child, "exit");
  throw new Error(`the command ended before it showed ${what}: ${seen()}`);
}

async function daemonWithFolder(play?: Parameters<typeof startHostDaemon>[1]): Promise<HostDaemon> {
  const folder = await mkdtemp(join(tmpdir(), "hv-"));
  const daemon = await startHostDaemon(folder, play);
  return {
    ...daemon,
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

const asFound = { echo: true, canonical: true };

describe("sh on a terminal", () => {
  test("keys go through raw, Ctrl-C included; the exit code comes back; the terminal is as it was", async () => {
    await using daemon = await daemonWithFolder();
    const screen = onTerminal(daemon, "sh", "web");
    await screen.shows("ready$ ");
    screen.type("\u0003");
    await screen.shows(String.raw`["\u0003"]`);
    screen.type("exit\r");
    expect(await screen.end()).toEqual({ exit: 5, ...asFound });
    expect(daemon.sizes).toEqual(["100x30"]);
  });

  test("a new size of the window reaches the guest", async () => {
    await using daemon = await daemonWithFolder();
    const screen = onTerminal(daemon, "sh", "web");
    await screen.shows("ready$ ");
    screen.widen();
    await screen.shows("size 120");
    screen.type("exit\r");
    expect(await screen.end()).toMatchObject({ exit: 5 });
  });

  test("a connection that breaks gives the terminal back, and takes back what the guest left on", async () => {
    await using daemon = await daemonWithFolder();
    const screen = onTerminal(daemon, "sh", "web");
    await screen.shows("ready$ ");
    screen.type("drop\r");
    expect(await screen.end()).toEqual({ exit: 125, ...asFound });
    expect(screen.text()).toContain("\u001B[?1049l");
    expect(screen.text()).toContain("the connection to it broke");
  });

  test("~. at the beginning of a line leaves", async () => {
    await using daemon = await daemonWithFolder();
    const screen = onTerminal(daemon, "sh", "web");
    await screen.shows("ready$ ");
    screen.type("ls\r~.");
    expect(await screen.end()).toEqual({ exit: 1, ...asFound });
  });
});

describe("questions", () => {
  test("rm asks, and does nothing without a yes", async () => {
    await using daemon = await daemonWithFolder();
    const screen = onTerminal(daemon, "rm", "web");
    await screen.shows("Remove web and everything in it? [y/N] ");
    screen.type("\r");
    expect(await screen.end()).toEqual({ exit: 0, ...asFound });
    expect(daemon.requests.filter((request) => request.startsWith("DELETE"))).toEqual([]);
  });

  test("Ctrl-C at a question leaves with 130", async () => {
    await using daemon = await daemonWithFolder();
    const screen = onTerminal(daemon, "rm", "web");
    await screen.shows("[y/N] ");
    screen.type("\u0003");
    expect(await screen.end()).toEqual({ exit: 130, ...asFound });
  });

  test("doctor --fix asks for each remedy, runs those with a yes only, and looks again", async () => {
    const folder = await mkdtemp(join(tmpdir(), "hv-"));
    try {
      await using daemon = await daemonWithFolder({ doctor: () => patient(folder) });
      const screen = onTerminal(daemon, "doctor", "--fix");
      await screen.shows(`Run \`touch ${folder}/first\`? [y/N] `);
      screen.type("n\r");
      await screen.shows(`Run \`touch ${folder}/second\`? [y/N] `);
      screen.type("y\r");
      expect(await screen.end()).toEqual({ exit: 5, ...asFound });
      expect(await readdir(folder)).toEqual(["second"]);
      expect(screen.text()).toMatch(/2 failures,.*1 failure, 1 of 2/s);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe("progress on a terminal", () => {
  test("a download shows a bar with size and share, and leaves one line", async () => {
    const step = { type: "step", id: "image", title: "Downloading debian:12" };
    await using daemon = await daemonWithFolder({
      create: (answer) => {
        const say = (event: object): void => void answer.write(`${JSON.stringify({ ...step, ...event })}\n`);
        say({ state: "started", elapsed_ms: 0 });
        say({ state: "progress", elapsed_ms: 500, done_bytes: 2 ** 27, total_bytes: 2 ** 28 });
        say({ state: "done", elapsed_ms: 2000 });
        answer.end(
          `${JSON.stringify({ type: "error", error: "no room", code: "disk_full", request_id: "r" })}\n`,
        );
      },
    });
    const screen = onTerminal(daemon, "create");
    expect(await screen.end()).toEqual({ exit: 1, ...asFound });
    expect(screen.text()).toContain("██████████░░░░░░░░░░▏  50%  128 MiB of 256 MiB");
    expect(screen.text()).toContain("Downloading debian:12  \u001B[2m2.0s");
    expect(screen.text()).toContain("no room");
  });
});
