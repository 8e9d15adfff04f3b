import { PassThrough, Readable } from "node:stream";

import { expect, test, vi } from "vitest";

import { runToEnd } from "./run-to-end.ts";
import { startLocalAgent } from "./testing/local-agent.ts";
import { processesWith } from "./testing/processes.ts";
import type { AgentSession, ExecRequest } from "./types.ts";

const timeoutMs = 60_000;
const { signal } = new AbortController();
const sh = (script: string): ExecRequest["argv"] => ["sh", "-c", script];

test("a program gets no input, and its outputs and its end are told", async () => {
  await using agent = startLocalAgent();
  await using session = await agent.connect();
  const argv = sh("cat; echo out; echo bad >&2; exit 7");
  expect(await runToEnd(session, { argv, timeoutMs }, { signal })).toEqual({
    code: 7,
    signal: undefined,
    timedOut: false,
    output: "out\nbad\n",
  });
});

test("of much output the end is kept", async () => {
  await using agent = startLocalAgent();
  await using session = await agent.connect();
  const argv = sh("yes | head -c 1000000; echo the end");
  const { output } = await runToEnd(session, { argv, timeoutMs }, { signal, keptBytes: 4096 });
  expect(output).toHaveLength(4096);
  expect(output.slice(-12)).toBe("y\ny\nthe end\n");
});

test("the guest ends what takes too long", async () => {
  await using agent = startLocalAgent();
  await using session = await agent.connect();
  const late = await runToEnd(session, { argv: ["sleep", "4741"], timeoutMs: 200 }, { signal });
  expect(late).toMatchObject({ timedOut: true });
});

test("the signal ends what nobody waits for, and is the cause", async () => {
  await using agent = startLocalAgent();
  await using session = await agent.connect();
  const giveUp = new AbortController();
  const env = { RUN_TO_END: String(process.pid) };
  const mark = `RUN_TO_END=${process.pid}`;
  const given = runToEnd(session, { argv: ["sleep", "4742"], env, timeoutMs }, { signal: giveUp.signal });
  await expect.poll(async () => (await processesWith(mark)).length).toBeGreaterThan(0);
  giveUp.abort("SIGINT");
  await expect(given).rejects.toMatchObject({ code: "aborted", cause: "SIGINT" });
  await expect.poll(async () => await processesWith(mark)).toEqual([]);
});

test("an agent that tells of no end is not waited for without one", async () => {
  vi.useFakeTimers();
  try {
    const given = runToEnd(silentAgent, { argv: ["true"], timeoutMs: 1000 }, { signal }).catch(
      (error: unknown) => error,
    );
    await vi.advanceTimersByTimeAsync(31_000);
    expect(await given).toMatchObject({ code: "timeout", details: { timeout_ms: 1000 } });
  } finally {
    vi.useRealTimers();
  }
});

/** Its commands begin, and that is the last that is heard of them. */
const silentAgent: Pick<AgentSession, "exec"> = {
  async exec(_request, call) {
    const closed = new Promise<never>((_resolve, reject) => {
      call?.signal?.addEventListener("abort", () => reject(new Error("closed")));
    });
    const output = (): Readable =>
      new Readable({ read() {}, signal: call?.signal }).on("error", () => undefined);
    return await Promise.resolve({
      pid: 1,
      exit: closed,
      stdin: new PassThrough(),
      stdout: output(),
      stderr: output(),
      kill() {},
      resize() {},
    });
  },
};
