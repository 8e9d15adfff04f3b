/** A sandbox that somebody else ends while a command of the command line uses it: the daemon is well. */
import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";

import { afterAll, beforeAll, expect, test } from "vitest";

import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";
import { runCli, spawnCli } from "./testing/run-cli.ts";

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

/** What uses the sandbox `web`, each until it is ended, with an input that does not end. */
const uses = {
  exec: { words: ["exec", "web", "--", "sh", "-c", "touch /begun; sleep 600"], exit: 125 },
  // A connection that is cut tells no reason: here it is asked for afterwards.
  download: { words: ["cp", "web:/dev/zero", "-"], exit: 1 },
  upload: { words: ["cp", "-", "web:/up/file"], exit: 1 },
} as const;
/** Method and path below the sandbox, and what is told of it. */
const ends = {
  stop: {
    method: "POST",
    path: "/stop",
    body: { grace_seconds: 0 },
    told: /sandbox web (was|is) stopped/,
  },
  kill: { method: "POST", path: "/kill", body: undefined, told: /sandbox web (was|is) stopped/ },
  restart: {
    method: "POST",
    path: "/restart",
    body: { grace_seconds: 0 },
    told: /sandbox (web )?was restarted/,
  },
  rm: {
    method: "DELETE",
    path: "",
    body: undefined,
    told: /sandbox web is being removed|there is no sandbox/,
  },
} as const;

/** Has a size that fills no disk within a test. */
async function* endless(): AsyncGenerator<Buffer> {
  for (;;) {
    yield Buffer.alloc(4096, "x");
    await delay(1);
  }
}

/** When the use is under way for sure. */
async function begun(use: keyof typeof uses, child: ReturnType<typeof spawnCli>): Promise<void> {
  if (use === "download") {
    if (child.stdout !== null) await once(child.stdout, "data");
    return;
  }
  const listed = use === "upload" ? "up" : "";
  const isThere = async (): Promise<boolean> => {
    const { json } = await daemon.call("GET", `/sandboxes/web/files/list?path=/${listed}`);
    const names: string[] = (json.entries ?? []).map(({ name }: { name: string }) => name);
    return use === "upload" ? names.length > 0 : names.includes("begun");
  };
  await expect.poll(isThere, { timeout: 60_000 }).toBe(true);
}

test.each([
  ["exec", "stop"],
  ["exec", "restart"],
  ["exec", "rm"],
  ["download", "stop"],
  ["download", "kill"],
  ["download", "restart"],
  ["download", "rm"],
  ["upload", "stop"],
  ["upload", "restart"],
  ["upload", "rm"],
] as const)("%s is told that its sandbox was ended by %s", { timeout: 120_000 }, async (use, end) => {
  const options = { socketPath: daemon.socketPath, env: { MVM_DATA_DIR: state.folder } };
  expect(await runCli(["create", "--name", "web"], options)).toMatchObject({ exitCode: 0 });
  const child = spawnCli(uses[use].words, options);
  if (child.stdin !== null) void pipeline(endless, child.stdin).catch(() => undefined);
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const exited = once(child, "close");
  await begun(use, child);
  child.stdout?.resume();
  const { method, path, body, told } = ends[end];
  await daemon.call(method, `/sandboxes/web${path}`, body);
  await exited;
  await runCli(["rm", "--yes", "web"], options);

  expect(stderr).toMatch(told);
  expect(stderr).not.toContain("daemon");
  // A conflict with what somebody else does: only a refused request can tell it.
  expect(child.exitCode).toBe(use === "upload" && end === "rm" ? 4 : uses[use].exit);
});
