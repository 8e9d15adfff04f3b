/**
 * Random frames, half true and half lies, in both directions. `node --import tsx src/agent/testing/fuzz.ts [seconds]
 * [seed]`; a failure names the seed that repeats it.
 */
import { pathToFileURL } from "node:url";

import { HeyvmError } from "../../errors/index.ts";
import { frameKind } from "../wire.ts";
import { connectFakeAgent } from "./fake-agent.ts";
import { type LocalAgent, startLocalAgent } from "./local-agent.ts";
import { type Random, randomNumbers } from "./random.ts";
import { rawHost } from "./raw-host.ts";

const kinds = [...Object.values(frameKind), 0, 10, 15, 20, 255];
/** Operations that do no harm to the machine on which the real agent runs. */
const operations = [
  '{"op":"ping"}',
  '{"op":"statistics"}',
  '{"op":"commands"}',
  '{"op":"exec","argv":["true"]}',
  '{"op":"exec","argv":["cat"],"timeout_ms":50}',
  '{"op":"exec","argv":["yes"],"timeout_ms":20}',
  '{"op":"exec","argv":["cat"],"terminal":{"cols":3,"rows":2},"timeout_ms":50}',
  '{"op":"exec","argv":["none"]}',
  '{"op":"read","path":"/dev/zero"}',
  '{"op":"read","path":"/proc/self/status"}',
  '{"op":"list","path":"/etc"}',
  '{"op":"dial","port":1}',
];
const answers = [
  '{"pid":1}',
  '{"code":0}',
  '{"code":null,"signal":"SIGKILL","timed_out":true}',
  '{"code":"not_found","message":"m","details":{}}',
  '{"size":1}',
  '{"type":"file","size":1e400}',
  '{"__proto__":{"x":1}}',
];

/** A lying agent against the host: the session must end with a typed error, or live. */
export async function fuzzHost(seed: number): Promise<void> {
  const random = randomNumbers(seed);
  const { agent, session } = await connectFakeAgent();
  const lie = (stream: number) => {
    for (let left = random.below(6); left > 0; left--) {
      const number = random.chance(0.9) ? stream : random.below(10);
      agent.send(random.pick(kinds), number, random.below(4), payload(random, answers));
    }
  };
  agent.onOpen = (stream) => {
    if (random.chance(0.7)) agent.send(frameKind.opened, stream, 0, random.pick(answers));
    lie(stream);
    if (random.chance(0.1)) agent.raw(payload(random, answers));
    if (random.chance(0.5)) agent.send(frameKind.result, stream, 0, random.pick(answers));
  };
  const options = { timeoutMs: 50 };
  const calls = [
    session.ping(options),
    session.exec({ argv: ["x"] }, options).then((command) => {
      command.stdout.resume();
      command.stdin.write(Buffer.alloc(1000));
      return Promise.race([command.exit, session.ping(options)]);
    }),
    session.files.list("/", options),
    session.files.stat("/", options),
    session.statistics(options),
    session.dial({ port: 1 }, options).then((connection) => connection.destroy()),
  ];
  for (const outcome of await Promise.allSettled(calls)) {
    if (outcome.status === "rejected" && !isTyped(outcome.reason)) throw outcome.reason;
  }
  await session.close();
  const reason = await session.closed;
  if (reason !== undefined && !isTyped(reason)) throw reason;
}

/** A lying host against the real agent: it must still serve the next, honest one, in the memory it had. */
export async function fuzzAgent(agent: LocalAgent, seed: number): Promise<void> {
  const random = randomNumbers(seed);
  const socket = await agent.open(AbortSignal.timeout(60_000));
  socket.on("error", () => {});
  const host = await rawHost(socket);
  let opened = 0;
  for (let left = random.below(40); left > 0; left--) {
    if (random.chance(0.4)) host.send(frameKind.open, ++opened, 0, random.pick(operations));
    else if (random.chance(0.02)) await host.raw(random.bytes(random.below(100_000)));
    else
      host.send(random.pick(kinds), random.below(opened + 2), random.below(4), payload(random, operations));
  }
  await new Promise<void>((resolve) => socket.write("", () => resolve()));
  socket.destroy();
  await using session = await agent.connect();
  await session.ping();
}

function payload(random: Random, texts: readonly string[]): Buffer {
  const text = Buffer.from(random.pick(texts));
  switch (random.below(6)) {
    case 0:
      return random.bytes(random.below(100));
    case 1:
      return random.bytes(random.below(60_000));
    case 2:
      text[random.below(text.length)] = random.below(256);
      return text;
    case 3:
      return Buffer.from([random.below(256), random.below(256), random.below(256), random.below(256)]);
    case 4:
      return Buffer.alloc(0);
    default:
      return text;
  }
}

function isTyped(error: unknown): boolean {
  return error instanceof HeyvmError && error.code !== "internal";
}

async function run(seconds: number, firstSeed: number): Promise<void> {
  await using agent = startLocalAgent();
  await (await agent.connect()).close();
  await fuzzAgent(agent, firstSeed);
  const before = { agent: agent.residentBytes(), host: process.memoryUsage().rss };
  const end = performance.now() + seconds * 1000;
  let seed = firstSeed;
  for (; performance.now() < end; seed++) {
    try {
      await fuzzHost(seed);
      await fuzzAgent(agent, seed);
    } catch (error) {
      console.error(`seed ${seed} failed`);
      throw error;
    }
  }
  console.log(
    `${seed - firstSeed} rounds each way; memory grew by ${grown(agent.residentBytes(), before.agent)} in the agent, ` +
      `${grown(process.memoryUsage().rss, before.host)} in the host`,
  );
}

function grown(nowBytes: number, thenBytes: number): string {
  return `${((nowBytes - thenBytes) / 1e6).toFixed(1)} MB`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await run(Number(process.argv[2] ?? 30), Number(process.argv[3] ?? Date.now() % 1_000_000));
}
