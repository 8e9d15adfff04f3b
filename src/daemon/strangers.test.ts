/** Clients that hold on to connections without a use for them. */
import { once } from "node:events";
import { Agent, type IncomingMessage, request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { createTestState, startTestDaemon, type TestDaemon } from "./testing/test-daemon.ts";

let api: TestDaemon;
let state: Awaited<ReturnType<typeof createTestState>>;
let url: URL;
let authorization: string;

beforeAll(async () => {
  state = await createTestState();
  api = await startTestDaemon(state.folder, { TEST_TCP: "1", HEYVM_API_PORT: "0" });
  url = new URL(String(api.info["url"]));
  authorization = `Bearer ${(await readFile(join(state.folder, "token"), "utf8")).trim()}`;
  await api.call("POST", "/sandboxes", { name: "box" });
});

afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
});

async function open(text = ""): Promise<Socket> {
  const socket = connect({ host: url.hostname, port: Number(url.port) });
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined);
  await once(socket, "connect");
  if (text !== "") socket.write(text);
  socket.resume();
  return socket;
}

async function isServed(): Promise<number | string> {
  return await fetch(new URL("/sandboxes", url), { headers: { authorization, connection: "close" } }).then(
    ({ status }) => status,
    String,
  );
}

test.concurrent.each([
  ["half a header", "GET /sandboxes HTTP/1.1\r\nhost:"],
  ["nothing", ""],
])("one that sends %s is cut off", async (_what, text) => {
  const socket = await open(text);
  await once(socket, "close");
  expect(socket.destroyed).toBe(true);
});

test.concurrent("one without a token that goes on after its answer is cut off", async () => {
  const socket = await open(`GET /health HTTP/1.1\r\nhost: ${url.host}\r\ncontent-length: 1000\r\n\r\n`);
  const sending = setInterval(() => socket.write("x"), 500);
  onTestFinished(() => clearInterval(sending));
  await once(socket, "close");
  expect(socket.destroyed).toBe(true);
});

test("one without a token is told that its connection ends with each answer, and can go on with the next", async () => {
  const agent = new Agent({ keepAlive: true });
  onTestFinished(() => agent.destroy());
  for (const [method, path, status] of [
    ["GET", "/sandboxes", 401],
    ["POST", "/sandboxes", 401],
    ["HEAD", "/sandboxes", 401],
    ["GET", "/health", 200],
  ] as const) {
    for (let round = 0; round < 10; round += 1) {
      const request = httpRequest({ host: url.hostname, port: url.port, method, path, agent });
      const answered = new Promise<IncomingMessage>((resolve, reject) => {
        request.once("response", resolve);
        request.once("error", reject);
      });
      request.end(method === "POST" ? "{}" : undefined);
      const answer = await answered;
      await buffer(answer);
      expect(answer).toMatchObject({ statusCode: status, headers: { connection: "close" } });
    }
  }
});

test("more than there may be are refused, and those that follow are served", async () => {
  const sockets = await Promise.all(Array.from({ length: 300 }, async () => await open()));
  await expect.poll(() => sockets.filter(({ closed }) => closed).length).toBeGreaterThanOrEqual(300 - 256);
  for (const socket of sockets) socket.destroy();
  await expect.poll(isServed).toBe(200);
});
