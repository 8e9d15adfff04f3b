import { assert, asyncProperty, nat, uint8Array } from "fast-check";
import { duplexPair } from "node:stream";
import { describe, expect, test } from "vitest";

import { connectAgent } from "./connect.ts";
import { ChannelOutput } from "./channel-output.ts";
import { GuestMisbehavedError, GuestUnsupportedError } from "./errors.ts";
import { Link } from "./link.ts";
import { type FakeAgent, connectFakeAgent } from "./testing/fake-agent.ts";
import { frameKind, maxPayloadBytes, replayHardLimitBytes, windowBytes } from "./wire.ts";

const { ack, bye, credit, data, eof, error, opened, result } = frameKind;
const deep = `{"a":${"[".repeat(5000)}${"]".repeat(5000)}}`;
const big = Buffer.alloc(maxPayloadBytes);

/** What a lying agent does once the host has started a command on `stream`. */
const lies: [string, (agent: FakeAgent, stream: number) => void][] = [
  ["bytes that are no frame", (agent) => agent.raw(Buffer.from("x".repeat(100)))],
  ["a frame for a stream that is not open", (agent) => agent.send(data, 77, 1, "x")],
  ["a frame of unknown kind", (agent, stream) => agent.send(12, stream, 0)],
  ["a link frame of unknown kind", (agent) => agent.send(99, 0, 0)],
  ["a kind that only hosts send", (agent, stream) => agent.send(frameKind.open, stream, 0, "{}")],
  ["an end of the session", (agent) => agent.send(bye, 0, 0, '{"code":"x","message":"\u001B[2J"}')],
  ["a result that is no JSON", (agent, stream) => agent.send(result, stream, 0, "{")],
  ["a result that is no object", (agent, stream) => agent.send(result, stream, 0, "[1]")],
  ["JSON that is nested too deep", (agent, stream) => agent.send(result, stream, 0, deep)],
  ["an error without a code", (agent, stream) => agent.send(error, stream, 0, "{}")],
  ["an exit code out of range", (agent, stream) => agent.send(result, stream, 0, '{"code":1e300}')],
  ["an exit code of 256", (agent, stream) => agent.send(result, stream, 0, '{"code":256}')],
  ["a second start", (agent, stream) => agent.send(opened, stream, 0, '{"pid":2}')],
  ["data on a channel that is none", (agent, stream) => agent.send(data, stream, 9, "x")],
  ["an end of a channel that is none", (agent, stream) => agent.send(eof, stream, 9)],
  [
    "data after the end",
    (agent, stream) => {
      agent.send(eof, stream, 1);
      agent.send(data, stream, 1, "x");
    },
  ],
  [
    "two ends",
    (agent, stream) => {
      agent.send(eof, stream, 1);
      agent.send(eof, stream, 1);
    },
  ],
  [
    "more data than it had credit for",
    (agent, stream) => {
      for (let sent = 0; sent <= windowBytes; sent += big.length) agent.send(data, stream, 2, big);
    },
  ],
  [
    "credit beyond all bounds",
    (agent, stream) => {
      for (let at = 0; at < 3; at++) agent.send(credit, stream, 0, Buffer.from([0x7f, 0, 0, 0]));
    },
  ],
  ["credit of the wrong size", (agent, stream) => agent.send(credit, stream, 0, "x")],
  ["credit for an output", (agent, stream) => agent.send(credit, stream, 1, Buffer.alloc(4))],
];

describe("an agent that sends", () => {
  test.each(lies)("%s ends the session, and every call fails with guest_misbehaved", async (_name, lie) => {
    const { agent, session } = await connectFakeAgent();
    agent.onOpen = (stream, operation) => {
      if (operation !== "exec") return;
      agent.send(opened, stream, 0, '{"pid":1}');
    };
    const command = await session.exec({ argv: ["x"] });
    const ping = session.ping();
    lie(agent, 1);
    const reason = await session.closed;
    expect(reason).toBeInstanceOf(GuestMisbehavedError);
    expect(reason?.message).not.toMatch(/\p{Cc}/u);
    await expect(ping).rejects.toBeInstanceOf(GuestMisbehavedError);
    await expect(session.sync()).rejects.toBeInstanceOf(GuestMisbehavedError);
    await expect(command.exit).rejects.toBeInstanceOf(GuestMisbehavedError);
  });

  test("a frame after the result ends the session, and the result stands", async () => {
    const { agent, session } = await connectFakeAgent();
    agent.onOpen = (stream) => agent.send(opened, stream, 0, '{"pid":1}');
    const command = await session.exec({ argv: ["x"] });
    agent.send(result, 1, 0, '{"code":0}');
    agent.send(data, 1, 1, "x");
    expect(await session.closed).toBeInstanceOf(GuestMisbehavedError);
    expect(await command.exit).toMatchObject({ code: 0 });
    await expect(session.sync()).rejects.toBeInstanceOf(GuestMisbehavedError);
  });

  test("a process id out of range ends the session", async () => {
    const { agent, session } = await connectFakeAgent();
    agent.onOpen = (stream) => agent.send(opened, stream, 0, '{"pid":-1}');
    await expect(session.exec({ argv: ["x"] })).rejects.toBeInstanceOf(GuestMisbehavedError);
    expect(await session.closed).toBeInstanceOf(GuestMisbehavedError);
  });

  test("a listing or a file status that cannot be ends the session", async () => {
    for (const line of ['{"name":1}\n', "{\n", '{"name":"a","type":"x"}\n', '{"half":1']) {
      const { agent, session } = await connectFakeAgent();
      agent.onOpen = (stream) => {
        agent.send(opened, stream, 0, "{}");
        agent.send(data, stream, 1, line);
        agent.send(eof, stream, 1);
        agent.send(result, stream, 0, "{}");
      };
      await expect(session.files.list("/")).rejects.toBeInstanceOf(GuestMisbehavedError);
      expect(await session.closed).toBeInstanceOf(GuestMisbehavedError);
    }
  });

  test("any bytes at all after its greeting leaves a session that is over or alive, never a crash", async () => {
    await assert(
      asyncProperty(uint8Array({ minLength: 20, maxLength: 400 }), nat(20), async (bytes, kind) => {
        const { agent, session } = await connectFakeAgent();
        const call = session.ping().catch((caught: unknown) => caught);
        agent.send(kind, 1, 0, Buffer.from(bytes));
        agent.raw(Buffer.from(bytes));
        expect(await session.closed).toBeInstanceOf(GuestMisbehavedError);
        expect(await call).toBeInstanceOf(GuestMisbehavedError);
      }),
      { numRuns: 200 },
    );
  });

  test.each([
    ["an unknown refusal", { error: { code: "no", message: "m" } }, GuestMisbehavedError],
    ["another protocol", { error: { code: "unsupported_protocol", message: "m" } }, GuestUnsupportedError],
    ["a number that was never sent", { received: 5 }, GuestMisbehavedError],
    ["a greeting without its fields", { kernel: 5 }, GuestMisbehavedError],
  ])("%s is refused while connecting", async (_name, reply, expected) => {
    await expect(connectFakeAgent(reply)).rejects.toBeInstanceOf(expected);
  });

  test("garbage without end and no greeting costs no memory and ends the attempt", async () => {
    const [host, guest] = duplexPair();
    guest.on("error", () => {});
    const noise = Buffer.alloc(65_536, "HEYVM-AGNT");
    const flood = () => {
      while (!guest.destroyed && guest.write(noise));
    };
    guest.on("drain", () => setImmediate(flood)).resume();
    flood();
    const before = process.memoryUsage().rss;
    const attempt = connectAgent(() => Promise.resolve(host), { timeoutMs: 60_000 });
    await expect(attempt).rejects.toThrow("it sends without end");
    guest.destroy();
    expect(process.memoryUsage().rss - before).toBeLessThan(150_000_000);
  });
});

describe("memory of the host", () => {
  test("does not grow with an agent that never acknowledges", () => {
    let failure: Error | undefined;
    const link = new Link({ frame: () => {}, down: () => {}, fatal: (caught) => (failure ??= caught) });
    for (let sent = 0; sent <= replayHardLimitBytes; sent += big.length) link.send(data, 1, 0, big);
    expect(failure).toBeInstanceOf(GuestMisbehavedError);
    expect(link.hasRoom).toBe(false);
  });

  test("is about a window for data that nobody reads, even in single bytes", () => {
    const output = new ChannelOutput(
      () => {},
      () => {},
    );
    const before = process.memoryUsage().heapUsed;
    for (let sent = 0; sent < windowBytes; sent++) output.receive(Buffer.from([1]));
    expect(() => output.receive(Buffer.from([1]))).toThrow(GuestMisbehavedError);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(40_000_000);
    output.readable.destroy();
  });

  test("stays for an agent that acknowledges, again and again, what it was never sent", async () => {
    const { agent, session } = await connectFakeAgent();
    agent.onOpen = (stream) => agent.send(result, stream, 0, "{}");
    for (let at = 0; at < 50; at++) agent.send(ack, 0xffff_ff00 + at, 0);
    expect(await session.ping()).toBeGreaterThan(0);
    await session.close();
  });
});
