import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";

import { connectAgent } from "./connect.ts";
import { GuestUnresponsiveError, SessionLostError } from "./errors.ts";
import { type Cut, cutPipe } from "./testing/cut-pipe.ts";
import { connectSocket, startLocalAgent } from "./testing/local-agent.ts";
import { digest, readText } from "./testing/read-all.ts";

/** Each pipe breaks somewhere else; in the end one holds. */
function cuts(count: number, seed: number): Cut[] {
  return Array.from({ length: count }, (_, at) => ({
    up: 2000 + (((at + 1) * 7919 * seed) % 400_000),
    down: 1500 + (((at + 1) * 104_729 * seed) % 900_000),
  }));
}

const whole: Cut = { up: Number.POSITIVE_INFINITY, down: Number.POSITIVE_INFINITY };

describe("a session over a pipe that breaks", () => {
  test("again and again in the middle of frames goes on with equal checksums, both ways", async () => {
    await using agent = startLocalAgent();
    let opened = 0;
    const breaks = cuts(12, 1);
    const open = async (signal: AbortSignal): Promise<Duplex> => {
      const socket = await connectSocket(agent.socketPath, signal);
      return cutPipe(socket, breaks[opened++] ?? whole, () => socket.destroy());
    };
    await using session = await connectAgent(open, { timeoutMs: 60_000 });
    await exchange(session, join(agent.folder, "up"));
    expect(opened).toBeGreaterThan(8);
  });

  test("without the agent noticing, as a virtio port may, goes on with equal checksums", async () => {
    await using agent = startLocalAgent();
    // One connection to the agent for all the host's pipes: the agent sees no boundary, only broken frames.
    const below: Socket = await openWhenThere(agent.socketPath);
    below.on("error", () => {});
    let opened = 0;
    const breaks = cuts(6, 3);
    const open = async (): Promise<Duplex> => {
      below.resume(); // with nobody connected, what the agent writes is lost
      return cutPipe(below, breaks[opened++] ?? whole, () => below.resume());
    };
    {
      await using session = await connectAgent(open, { timeoutMs: 60_000 });
      await exchange(session, join(agent.folder, "up"));
      expect(opened).toBeGreaterThan(4);
    }
    below.destroy();
  });

  test("keeps running commands and their output", async () => {
    await using agent = startLocalAgent();
    const pipes: Socket[] = [];
    const open = async (signal: AbortSignal) => {
      const socket = await connectSocket(agent.socketPath, signal);
      pipes.push(socket);
      return socket;
    };
    await using session = await connectAgent(open, { timeoutMs: 60_000 });
    const command = await session.exec({
      argv: ["sh", "-c", "echo one; read x; echo two $x; read x; echo three $x"],
    });
    await once(command.stdout, "data");
    pipes.at(-1)?.destroy();
    command.stdin.write("a\n");
    await once(command.stdout, "data");
    pipes.at(-1)?.destroy();
    command.stdin.write("b\n");
    expect(await readText(command.stdout)).toBe("three b\n");
    expect(await command.exit).toMatchObject({ code: 0 });
    // Once more where the agent is slow to notice.
    expect(pipes.length).toBeGreaterThanOrEqual(3);
  });

  test("ends with a clear error when the pipe does not come back", async () => {
    const agent = startLocalAgent();
    const session = await agent.connect({ reconnectMs: 300 });
    const command = await session.exec({ argv: ["sleep", "4711"] });
    await agent[Symbol.asyncDispose]();
    expect(await session.closed).toBeInstanceOf(GuestUnresponsiveError);
    await expect(command.exit).rejects.toBeInstanceOf(GuestUnresponsiveError);
    await expect(session.ping()).rejects.toBeInstanceOf(GuestUnresponsiveError);
  });

  test("that is held lives longer than a paused guest's silence", async () => {
    await using agent = startLocalAgent();
    let attempts = 0;
    let socket: Socket | undefined;
    const open = async (signal: AbortSignal) => {
      attempts++;
      if (attempts > 1 && attempts < 8) throw new Error("paused");
      socket = await connectSocket(agent.socketPath, signal);
      return socket;
    };
    await agent.connect().then((first) => first.close());
    await using session = await connectAgent(open, { timeoutMs: 60_000, reconnectMs: 100 });
    const command = await session.exec({ argv: ["cat"] });
    session.hold();
    socket?.destroy();
    command.stdin.end("still here");
    expect(await readText(command.stdout)).toBe("still here");
    session.release();
    // More when the agent takes its time to answer.
    expect(attempts).toBeGreaterThanOrEqual(8);
  });

  test("is lost, and says so, when another agent answers", async () => {
    await using first = startLocalAgent();
    await using second = startLocalAgent();
    let socket: Socket | undefined;
    const open = async (signal: AbortSignal) => {
      socket = await connectSocket(socket === undefined ? first.socketPath : second.socketPath, signal);
      return socket;
    };
    await using session = await connectAgent(open, { timeoutMs: 60_000 });
    socket?.destroy();
    expect(await session.closed).toBeInstanceOf(SessionLostError);
  });

  test("replaced by a new session loses its commands, and the new one works", async () => {
    await using agent = startLocalAgent();
    await using first = await agent.connect();
    const command = await first.exec({ argv: ["sleep", "4711"] });
    await using second = await agent.connect();
    expect(await first.closed).toBeInstanceOf(SessionLostError);
    await expect(command.exit).rejects.toBeInstanceOf(SessionLostError);
    expect(await second.ping()).toBeGreaterThan(0);
  });
});

describe("connecting", () => {
  test("waits for an agent that starts later", async () => {
    const controller = new AbortController();
    await using agent = startLocalAgent();
    const opening: Promise<unknown>[] = [];
    await using session = await connectAgent(
      (signal) => {
        opening.push(Promise.resolve());
        return opening.length < 4 ? Promise.reject(new Error("not yet")) : agent.open(signal);
      },
      { timeoutMs: 60_000, signal: controller.signal },
    );
    expect(session.info).toMatchObject({ protocol: 1 });
    expect(opening.length).toBeGreaterThan(3);
  });

  test("gives up at its deadline, naming the last failure", async () => {
    const attempt = connectAgent(() => Promise.reject(new Error("no such socket")), { timeoutMs: 200 });
    await expect(attempt).rejects.toBeInstanceOf(GuestUnresponsiveError);
    await expect(attempt).rejects.toThrow(/no such socket/u);
  });

  test("stops at once when cancelled, even in an open that never ends", async () => {
    const controller = new AbortController();
    const attempt = connectAgent(() => new Promise<never>(() => {}), { signal: controller.signal });
    controller.abort();
    await expect(attempt).rejects.toMatchObject({ code: "aborted" });
  });
});

/** Half a minute's worth of traffic in both directions, checked. */
async function exchange(session: Awaited<ReturnType<typeof connectAgent>>, path: string): Promise<void> {
  const data = randomBytes(3_000_000);
  writeFileSync(`${path}.source`, data);
  const expected = await digest([data]);
  async function* content() {
    for (let at = 0; at < data.length; at += 50_000) yield data.subarray(at, at + 50_000);
  }
  const cat = await session.exec({ argv: ["cat"] });
  cat.stdin.end(data);
  const [written, read, echoed] = await Promise.all([
    session.files.write(path, content()),
    session.files.read(`${path}.source`).then(digest),
    digest(cat.stdout),
  ]);
  expect(written).toBe(data.length);
  expect(read).toEqual(expected);
  expect(echoed).toEqual(expected);
  expect(await digest(await session.files.read(path))).toEqual(expected);
  expect(await cat.exit).toMatchObject({ code: 0 });
}

async function openWhenThere(path: string): Promise<Socket> {
  for (;;) {
    try {
      return await connectSocket(path, AbortSignal.timeout(60_000));
    } catch (error) {
      if (!(error instanceof Error) || !/ENOENT|ECONNREFUSED/u.test(error.message)) throw error;
    }
  }
}
