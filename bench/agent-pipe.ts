/**
 * What the agent and its protocol cost, without a machine between: the real agent as a process of this host, at a unix
 * socket. `node --import tsx bench/agent-pipe.ts`
 */
import { randomBytes } from "node:crypto";
import { unlinkSync } from "node:fs";
import { join } from "node:path";

import { startLocalAgent } from "../src/agent/testing/local-agent.ts";
import type { AgentSession } from "../src/agent/types.ts";

const rounds = 100;
const transferBytes = 256_000_000;

async function main(): Promise<void> {
  await using agent = startLocalAgent();
  await using session = await agent.connect();
  for (let at = 0; at < 10; at++) await runTrue(session);
  report("ping", await measure(() => session.ping()));
  report("exec of true", await measure(() => runTrue(session)));
  await inParallel(session);
  await transfers(session, join(agent.folder, "file"));
  console.log(`agent's memory: ${(agent.residentBytes() / 1e6).toFixed(1)} MB`);
}

async function runTrue(session: AgentSession): Promise<void> {
  const command = await session.exec({ argv: ["true"] });
  command.stdout.resume();
  command.stderr.resume();
  await command.exit;
}

async function inParallel(session: AgentSession): Promise<void> {
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: 200 }, () => runTrue(session)));
  console.log(`200 execs at once: ${(performance.now() - startedAt).toFixed(0)} ms`);
}

async function transfers(session: AgentSession, path: string): Promise<void> {
  const block = randomBytes(1_000_000);
  async function* content() {
    for (let sent = 0; sent < transferBytes; sent += block.length) yield block;
  }
  await throughput("file up", () => session.files.write(path, content()));
  await throughput("file down", async () => {
    for await (const _chunk of await session.files.read(path));
  });
  unlinkSync(path);
  await throughput("stdout", async () => {
    const command = await session.exec({ argv: ["head", "-c", String(transferBytes), "/dev/zero"] });
    for await (const _chunk of command.stdout);
  });
}

async function measure(work: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let at = 0; at < rounds; at++) {
    const startedAt = performance.now();
    await work();
    times.push(performance.now() - startedAt);
  }
  return times.toSorted((a, b) => a - b);
}

function report(name: string, sorted: readonly number[]): void {
  const at = (part: number) => sorted[Math.floor(sorted.length * part)]?.toFixed(2);
  console.log(`${name}: median ${at(0.5)} ms, p95 ${at(0.95)} ms`);
}

async function throughput(name: string, work: () => Promise<unknown>): Promise<void> {
  const startedAt = performance.now();
  await work();
  const seconds = (performance.now() - startedAt) / 1000;
  console.log(`${name}: ${(transferBytes / 1e6 / seconds).toFixed(0)} MB/s`);
}

await main();
