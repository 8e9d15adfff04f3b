import { once } from "node:events";
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";

import { startLocalAgent } from "./testing/local-agent.ts";
import { digest, runCommand } from "./testing/read-all.ts";

const megabyte = 1_000_000;

describe("under load", () => {
  test("two hundred commands at once all succeed, each with its own output", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const numbers = Array.from({ length: 200 }, (_, at) => String(at));
    const done = await Promise.all(
      numbers.map((number) =>
        runCommand(session, { argv: ["sh", "-c", "read x; echo $x; echo $x >&2"] }, `${number}\n`),
      ),
    );
    expect(done.map(({ stdout, stderr, code }) => [stdout, stderr, code])).toEqual(
      numbers.map((number) => [`${number}\n`, `${number}\n`, 0]),
    );
  });

  test("200 MB of output arrive whole, in flat memory on both sides", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    await session.ping();
    const before = { agent: agent.residentBytes(), host: process.memoryUsage().rss };
    const command = await session.exec({ argv: ["sh", "-c", "yes | head -c 200000000"] });
    command.stdin.end();
    const found = await digest(command.stdout);
    const hash = createHash("sha256");
    for (let at = 0; at < 200; at++) hash.update("y\n".repeat(megabyte / 2));
    expect(found).toEqual({ bytes: 200 * megabyte, sha256: hash.digest("hex") });
    expect(agent.residentBytes() - before.agent).toBeLessThan(16 * megabyte);
    expect(process.memoryUsage().rss - before.host).toBeLessThan(200 * megabyte);
  });

  test("`seq 1 2000000` arrives whole and in order", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const { stdout } = await runCommand(session, { argv: ["seq", "1", "2000000"] });
    let expected = 1;
    for (const line of stdout.trimEnd().split("\n")) if (line === String(expected)) expected++;
    expect(expected).toBe(2_000_001);
  });

  test("a reader that does not read stalls nobody else", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const slow = await session.exec({ argv: ["sh", "-c", "yes | head -c 20000000"] });
    const stuck = await session.exec({ argv: ["sleep", "4711"] });
    stuck.stdin.write(Buffer.alloc(5 * megabyte)); // nobody takes it
    await once(slow.stdout, "readable");
    const fast = await session.exec({ argv: ["sh", "-c", "yes | head -c 20000000"] });
    expect((await digest(fast.stdout)).bytes).toBe(20 * megabyte);
    expect(await session.ping()).toBeGreaterThan(0);
    expect((await digest(slow.stdout)).bytes).toBe(20 * megabyte);
    expect(await slow.exit).toMatchObject({ code: 0 });
  });
});
