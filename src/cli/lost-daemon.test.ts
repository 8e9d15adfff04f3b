/** A daemon that is killed, or leaves, while a command of the command line is under way. */
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect, test } from "vitest";

import { createTestState, startTestDaemon } from "../daemon/testing/test-daemon.ts";
import { runCli, spawnCli } from "./testing/run-cli.ts";

/** Runs until `sign` is printed, sends `signal` to the daemon, and returns how the command ended. */
async function loseDaemon(
  words: readonly string[],
  sign: string,
  signal: NodeJS.Signals = "SIGKILL",
  input?: string,
): Promise<{ exitCode: number | null; stderr: string; log: string }> {
  await using state = await createTestState();
  await using daemon = await startTestDaemon(state.folder);
  const options = { socketPath: daemon.socketPath, env: { MVM_DATA_DIR: state.folder } };
  const isNew = ["create", "run"].includes(words[0] ?? "");
  if (!isNew) await runCli(["create", "--name", "web"], options);
  if (words[0] === "start") {
    await runCli(["kill", "web"], options);
    // No guest gets further than its connection.
    await writeFile(join(state.folder, "hold-guests"), "");
  }
  const child = spawnCli(words, options);
  let stderr = "";
  let printed = "";
  let ended: Promise<void> | undefined;
  const see = (chunk: Buffer): void => {
    printed = printed.slice(-1000) + chunk.toString("latin1");
    if (printed.includes(sign)) ended ??= daemon.kill(signal);
  };
  child.stdout?.on("data", see);
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
    see(chunk);
  });
  if (input !== undefined) child.stdin?.write(input);
  await once(child, "close");
  await ended;
  return { exitCode: child.exitCode, stderr, log: join(state.folder, "daemon.log") };
}

/** What is under way when the daemon goes: `work` in the words of one that leaves in order, `means` of one that ends. */
const verbs = [
  {
    words: ["create", "--setup-hook", "sleep 60"],
    sign: "Setting up the guest",
    exit: 1,
    work: "the create was under way",
    means: "half made",
  },
  {
    words: ["run", "--setup-hook", "sleep 60", "--", "true"],
    sign: "Setting up the guest",
    exit: 125,
    work: "the create was under way",
    means: "half made",
  },
  {
    words: ["start", "web"],
    sign: "Waiting for the guest",
    exit: 1,
    work: "the start was under way",
    means: "while the start was under way: the sandbox stays, and is stopped again",
  },
  {
    words: ["exec", "web", "--", "sh", "-c", "echo begun; sleep 60"],
    sign: "begun\n",
    exit: 125,
    work: "a command ran in the sandbox",
    means: "next use of the sandbox ends it",
  },
  {
    words: ["logs", "-f", "web"],
    sign: "second line",
    exit: 1,
    work: "the logs were read",
    means: "the sandbox goes on",
  },
];

test.each([
  ...verbs,
  { words: ["cp", "web:/dev/zero", "-"], sign: "\0", exit: 1, means: "files were copied" },
])("$words.0 says that its daemon ended, and what that means", async ({ words, sign, exit, means }) => {
  const { exitCode, stderr, log } = await loseDaemon(words, sign);
  expect(stderr).toMatch(/error: the heyvm daemon at \S+ ended unexpectedly/);
  expect(stderr).toContain(means);
  expect(stderr).toContain(log);
  expect(stderr).not.toContain("bug in heyvm");
  expect(exitCode).toBe(exit);
});

test("run tells how to remove what it had to leave", async () => {
  const words = ["run", "--", "sh", "-c", "echo begun; sleep 60"];
  const { exitCode, stderr } = await loseDaemon(words, "begun\n");
  expect(stderr).toMatch(/could not remove (sb-[0-9a-f]{8}).*heyvm rm \1/);
  expect(stderr).toMatch(/ended unexpectedly.*while a command ran in the sandbox/);
  expect(exitCode).toBe(125);
});

test("sh says it, too", async () => {
  const { exitCode, stderr } = await loseDaemon(
    ["sh", "web"],
    "begun\n",
    "SIGKILL",
    "echo begun\nsleep 60\n",
  );
  expect(stderr).toMatch(/ended unexpectedly.*while a command ran in the sandbox/);
  expect(exitCode).toBe(125);
});

test.each(verbs)("$words.0 says that its daemon left in order", async ({ words, sign, exit, work }) => {
  const { exitCode, stderr } = await loseDaemon(words, sign, "SIGTERM");
  expect(stderr).toMatch(/error: the heyvm daemon at \S+ left in order/);
  expect(stderr).toContain(work);
  expect(stderr).toMatch(/hint: .*heyvm list --all|hint: read them again/);
  expect(exitCode).toBe(exit);
});
