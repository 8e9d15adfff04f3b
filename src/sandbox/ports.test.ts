import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";

import { startLocalAgent } from "../agent/testing/local-agent.ts";
import { findFreePort } from "../libvirt/testing/free-port.ts";
import type { AgentSession } from "../agent/types.ts";
import { publishPorts } from "./ports.ts";

/** Answers every connection with a word, once it has ended its own side. */
async function startGuestServer(): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.resume().once("end", () => socket.end("hello\n"));
  });
  onTestFinished(() => void server.close());
  return await listen(server);
}

async function listen(server: ReturnType<typeof createServer>): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** A published port, whose session is only there when `ready` is. */
async function publish(ready: (signal: AbortSignal) => Promise<void>): Promise<number> {
  const agent = startLocalAgent();
  const session: AgentSession = await agent.connect();
  const hostPort = await findFreePort();
  const ports = [{ guestPort: await startGuestServer(), hostPort }];
  const published = await publishPorts(ports, async (signal) => {
    await ready(signal);
    return session;
  });
  onTestFinished(async () => {
    await published.close();
    await session[Symbol.asyncDispose]();
    await agent[Symbol.asyncDispose]();
  });
  return hostPort;
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

async function ask(port: number): Promise<string> {
  const socket = await open(port);
  socket.end();
  return await text(socket);
}

test("a client that resets its connection before the guest has answered ends nothing but that", async () => {
  const asked: AbortSignal[] = [];
  const isUp = new AbortController();
  const port = await publish(async (signal) => {
    asked.push(signal);
    if (!isUp.signal.aborted) await once(isUp.signal, "abort");
  });
  const socket = await open(port);
  await expect.poll(() => asked).toHaveLength(1);
  socket.resetAndDestroy();
  // Its dial is given up.
  await expect.poll(() => asked[0]?.aborted).toBe(true);
  isUp.abort();
  expect(await ask(port)).toBe("hello\n");
});

test("a client that resets its connection while it talks to the guest ends nothing but that", async () => {
  const port = await publish(async () => undefined);
  for (let round = 0; round < 20; round++) {
    const socket = await open(port);
    socket.write("x".repeat(round * 1000));
    socket.resetAndDestroy();
  }
  expect(await ask(port)).toBe("hello\n");
});

test("one who opens connections without end gets a certain number, and the others are served when he has left", async () => {
  const port = await publish(async () => undefined);
  const sockets = await Promise.all(Array.from({ length: 300 }, async () => await open(port)));
  let closed = 0;
  for (const socket of sockets) {
    socket.on("error", () => undefined);
    socket.resume().once("close", () => (closed += 1));
  }
  await expect.poll(() => closed).toBeGreaterThanOrEqual(300 - 256);
  for (const socket of sockets) socket.destroy();
  await expect.poll(async () => await ask(port).catch(String)).toBe("hello\n");
});
