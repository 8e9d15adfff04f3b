/** The agent at a device that outlives it, as a virtio port does: a terminal's two ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";

import { agentSourcePath } from "./agent-source.ts";
import { connectAgent } from "./connect.ts";
import { SessionLostError } from "./errors.ts";
import { connectFakeAgent, encodeGreeting } from "./testing/fake-agent.ts";

function start(args: readonly string[]): ChildProcess {
  const child = spawn("python3", ["-I", "-S", "-B", ...args]);
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return child;
}

async function openPort(): Promise<{ path: string; pipe: Duplex }> {
  const port = start([fileURLToPath(new URL("testing/pty-port.py", import.meta.url))]);
  const { stdin, stdout, stderr } = port;
  if (stdin === null || stdout === null || stderr === null) throw new Error("a child has no pipes");
  const [line] = await once(stderr, "data");
  return { path: String(line).trim(), pipe: Duplex.from({ writable: stdin, readable: stdout }) };
}

test("a session ends as soon as its agent has been started anew", async () => {
  const { path, pipe } = await openPort();
  const agent = start([agentSourcePath(), "--port", path]);
  const open = async (): Promise<Duplex> => await Promise.resolve(pipe);
  // Nobody asks a silent agent for a sign of life.
  await using session = await connectAgent(open, { timeoutMs: 60_000, keepAliveMs: 0 });
  // It ends with its input.
  const command = await session.exec({ argv: ["cat"] });
  agent.kill("SIGKILL");
  await once(agent, "exit");
  start([agentSourcePath(), "--port", path]);
  expect(await session.closed).toBeInstanceOf(SessionLostError);
  await expect(command.exit).rejects.toBeInstanceOf(SessionLostError);
});

test("an announcement counts only where a frame could begin, and only when it is whole", async () => {
  const announcement = encodeGreeting(Buffer.alloc(16), "").subarray(0, 32);
  const { agent, session } = await connectFakeAgent();
  agent.raw(announcement.subarray(0, 31));
  agent.raw(announcement.subarray(31));
  expect(await session.closed).toBeInstanceOf(SessionLostError);

  const other = await connectFakeAgent();
  other.agent.raw(Buffer.concat([announcement.subarray(0, 20), Buffer.alloc(12, 1)]));
  expect(await other.session.closed).toMatchObject({ code: "guest_misbehaved" });
});
