import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";

import { parseGuestJson } from "./guest-json.ts";
import { type LocalAgent, startLocalAgent } from "./testing/local-agent.ts";
import { type RawHost, rawHost } from "./testing/raw-host.ts";
import { frameKind, hostMagic } from "./wire.ts";

const { open, data, eof, credit, control, close, result, error, bye } = frameKind;
const exec = (argv: string[]) => JSON.stringify({ op: "exec", argv });
const isBye = (frame: { kind: number }) => frame.kind === bye;

/** Breaks of the protocol after which the agent ends the session and says why. */
const breaks: [string, (host: RawHost) => void][] = [
  ["a stream that was never opened", (host) => host.send(data, 9, 0, "x")],
  ["a frame of unknown kind", (host) => host.send(15, 1, 0)],
  ["a link frame of unknown kind", (host) => host.send(200, 0, 0)],
  ["parameters that are no JSON", (host) => host.send(open, 1, 0, "{")],
  ["JSON that is nested too deep", (host) => host.send(open, 1, 0, `{"op":${"[".repeat(30_000)}`)],
  ["parameters that are no object", (host) => host.send(open, 1, 0, "[]")],
  [
    "a number used twice",
    (host) => {
      host.send(open, 5, 0, '{"op":"ping"}');
      host.send(open, 5, 0, '{"op":"ping"}');
    },
  ],
  [
    "parameters without end",
    (host) => {
      for (let at = 0; at < 20; at++) host.send(open, 1, 1, Buffer.alloc(65_536, 32));
    },
  ],
  [
    "data beyond its credit",
    (host) => {
      host.send(open, 1, 0, exec(["sleep", "4711"]));
      for (let at = 0; at < 12; at++) host.send(data, 1, 0, Buffer.alloc(65_536));
    },
  ],
  [
    "data after its end",
    (host) => {
      host.send(open, 1, 0, exec(["sleep", "4711"]));
      host.send(eof, 1, 0);
      host.send(data, 1, 0, "x");
    },
  ],
  [
    "data on a channel that takes none",
    (host) => {
      host.send(open, 1, 0, exec(["sleep", "4711"]));
      host.send(data, 1, 1, "x");
    },
  ],
  [
    "credit beyond all bounds",
    (host) => {
      host.send(open, 1, 0, exec(["sleep", "4711"]));
      host.send(credit, 1, 1, Buffer.from([0x7f, 255, 255, 255]));
    },
  ],
  [
    "credit of the wrong size",
    (host) => {
      host.send(open, 1, 0, exec(["sleep", "4711"]));
      host.send(credit, 1, 1, "x");
    },
  ],
  ["an acknowledgement of what was never sent", (host) => host.send(frameKind.ack, 4711, 0)],
  [
    "a control that is no JSON",
    (host) => {
      host.send(open, 1, 0, exec(["sleep", "4711"]));
      host.send(control, 1, 0, "\u0000");
    },
  ],
];

describe("a host that sends", () => {
  test.each(breaks)(
    "%s hears why its session ends, and the agent serves the next one",
    async (_name, act) => {
      await using agent = startLocalAgent();
      const host = await attach(agent);
      act(host);
      const farewell = await host.next(isBye);
      expect(JSON.parse(farewell?.payload.toString() ?? "")).toMatchObject({ code: "protocol_error" });
      await expectHealthy(agent);
    },
  );

  test("operations that do not exist or make no sense gets an error for each, and the session goes on", async () => {
    await using agent = startLocalAgent();
    const host = await attach(agent);
    const wrong = [
      {},
      { op: "no-such" },
      { op: {} },
      { op: "__init__" },
      { op: "exec" },
      { op: "exec", argv: "sh" },
      { op: "exec", argv: [] },
      { op: "exec", argv: [1] },
      { op: "exec", argv: ["a\0b"] },
      { op: "exec", argv: ["\uD800"] },
      { op: "exec", argv: ["true"], env: { "A=B": "c" } },
      { op: "exec", argv: ["true"], env: { A: 1 } },
      { op: "exec", argv: ["true"], env: [] },
      { op: "exec", argv: ["true"], timeout_ms: -1 },
      { op: "exec", argv: ["true"], timeout_ms: 1e300 },
      { op: "exec", argv: ["true"], terminal: { cols: 1e9 } },
      { op: "exec", argv: ["true"], terminal: true },
      { op: "exec", argv: ["true"], user: "99999999999999999999" },
      { op: "exec", argv: ["true"], user: "²" },
      { op: "exec", argv: ["true"], cwd: "x" },
      { op: "exec", argv: ["true"], detached: {} },
      { op: "read", path: 5 },
      { op: "read", path: "/etc/passwd", offset: -1 },
      { op: "read", path: "/proc/self/mem", offset: 0 },
      { op: "write", path: "/" },
      { op: "write", path: "/dev/null/x" },
      { op: "remove", path: "/" },
      { op: "remove", path: "/../." },
      { op: "dial" },
      { op: "dial", port: 0 },
      { op: "dial", port: 80, host: "x".repeat(5000) },
      { op: "dial", path: `/${"x".repeat(500)}` },
      { op: "identify", hostname: "a b" },
      { op: "identify", machine_id: "x" },
      { op: "identify", entropy: "%" },
      { op: "identify", ssh_host_keys: { "../passwd": "x" } },
      { op: "identify", ssh_host_keys: 5 },
      { op: "mount", tag: "" },
      { op: "signal", pid: 1 },
      { op: "signal", pid: "x" },
    ];
    for (const [at, params] of wrong.entries()) {
      host.send(open, at + 1, 0, JSON.stringify(params));
      const answer = await host.next(
        ({ kind, stream }) => stream === at + 1 && (kind === error || kind === result),
      );
      const content = parseGuestJson(answer?.payload ?? Buffer.alloc(0));
      expect([params, answer?.kind, content["code"] === "internal"]).toEqual([params, error, false]);
    }
    await expectHealthy(agent);
  });

  test("more operations at once than the limit gets errors for those beyond it", async () => {
    await using agent = startLocalAgent();
    const host = await attach(agent);
    for (let at = 1; at <= 1030; at++) host.send(open, at, 0, '{"op":"read","path":"/dev/zero"}');
    const answer = await host.next((frame) => frame.kind === error);
    expect(JSON.parse(answer?.payload.toString() ?? "")).toMatchObject({
      code: expect.stringMatching(/limit|failed/u),
    });
    await expectHealthy(agent);
  });

  test("frames for a stream that has ended is forgiven", async () => {
    await using agent = startLocalAgent();
    const host = await attach(agent);
    host.send(open, 1, 0, '{"op":"ping"}');
    for (const kind of [data, eof, credit, control, close]) host.send(kind, 1, 0, "x");
    host.send(open, 2, 0, '{"op":"ping"}');
    expect(await host.next((frame) => frame.stream === 2)).toMatchObject({ kind: result });
  });

  test("random bytes, half hellos and floods of zeros costs the agent no memory and no health", async () => {
    await using agent = startLocalAgent();
    await expectHealthy(agent);
    const before = agent.residentBytes();
    const pieces = [
      Buffer.alloc(20_000_000),
      randomBytes(5_000_000),
      Buffer.concat([hostMagic, randomBytes(16), Buffer.from([255, 255, 255, 255, 0, 0, 0, 0])]),
      Buffer.concat([hostMagic, randomBytes(16), Buffer.from([0, 0, 0x3f, 0, 0, 0, 0, 0])]),
      hostMagic,
      Buffer.alloc(5_000_000, hostMagic),
    ];
    for (const piece of pieces) {
      const socket = await agent.open(AbortSignal.timeout(60_000));
      socket.on("error", () => {});
      await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
      const host = await rawHost(socket); // on the same pipe, behind the garbage
      await host.raw(piece.subarray(0, 100_000));
      socket.destroy();
      await expectHealthy(agent);
    }
    expect(agent.residentBytes() - before).toBeLessThan(8_000_000);
  });

  test("no acknowledgement and all the credit there is stops the output, not the memory", async () => {
    await using agent = startLocalAgent();
    const host = await attach(agent);
    const before = agent.residentBytes();
    host.send(open, 1, 0, exec(["yes"]));
    host.send(credit, 1, 1, Buffer.from([0x70, 0, 0, 0]));
    let bytes = 0;
    // The agent stops by itself; after it has, a ping is still answered.
    while (bytes < 3_900_000) bytes += (await host.next((frame) => frame.kind === data))?.payload.length ?? 0;
    host.send(open, 2, 0, '{"op":"ping"}');
    expect(await host.next((frame) => frame.stream === 2)).toMatchObject({ kind: result });
    expect(agent.residentBytes() - before).toBeLessThan(20_000_000);
  });
});

async function attach(agent: LocalAgent): Promise<RawHost> {
  await expectHealthy(agent); // it is up
  const socket = await agent.open(AbortSignal.timeout(60_000));
  socket.on("error", () => {});
  return rawHost(socket);
}

async function expectHealthy(agent: LocalAgent): Promise<void> {
  await using session = await agent.connect();
  expect(await session.ping()).toBeGreaterThan(0);
}
