/** Clients that hold on to connections without a use for them. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { readFile } from "node:fs/promises";

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

const upload = (bytes: number): string =>
  `PUT /sandboxes/box/files?path=/root/x HTTP/1.1\r\nhost: ${url.host}\r\nauthorization: ${authorization}\r\ncontent-length: ${bytes}\r\n\r\n`;

test.concurrent.each([
  ["half a header", "GET /sandboxes HTTP/1.1\r\nhost:"],
  ["nothing", ""],
])("one that sends %s is cut off", async (_what, text) => {
  const socket = await open(text);
  await once(socket, "close");
  expect(socket.destroyed).toBe(true);
});

test.concurrent("a body that stands still is cut off, and nothing of it is kept", async () => {
  await once(await open(`${upload(1000)}abc`), "close");
  const { json } = await api.call("POST", "/sandboxes/box/execute", { command: "ls /root" });
  expect(json.stdout).toBe("");
});

test.concurrent("a body that the guest does not take is waited with", async ({ expect }) => {
  await api.call("POST", "/sandboxes", { name: "held" });
  const bytes = 32 * 1_048_576;
  const socket = await open(upload(bytes).replace("/box/", "/held/"));
  const answer: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => answer.push(chunk));
  socket.write("begin");
  const files = async (): Promise<string> =>
    (await api.call("POST", "/sandboxes/held/execute", { command: "ls -A /root" })).json.stdout;
  await expect.poll(files).not.toBe("");
  await api.call("POST", "/sandboxes/held/pause");
  socket.write(Buffer.alloc(bytes - "begin".length));
  // Longer than one that nobody waits for would have.
  await new Promise((resolve) => setTimeout(resolve, 65_000));
  expect(socket.closed).toBe(false);
  await api.call("POST", "/sandboxes/held/resume");
  await expect.poll(() => Buffer.concat(answer).toString()).toMatch(/^HTTP\/1.1 20\d /);
});

test("more than there may be are refused, and those that follow are served", async () => {
  const sockets = await Promise.all(Array.from({ length: 300 }, async () => await open()));
  await expect.poll(() => sockets.filter(({ closed }) => closed).length).toBeGreaterThanOrEqual(300 - 256);
  for (const socket of sockets) socket.destroy();
  await expect.poll(isServed).toBe(200);
});
