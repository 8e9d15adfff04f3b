import { createServer } from "node:net";
import { once } from "node:events";

import type { WebSocket } from "ws";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { findFreePort } from "../libvirt/testing/free-port.ts";
import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";
import { openStream, type StreamClient } from "./testing/web-socket-client.ts";

let api: TestDaemon;
let state: Awaited<ReturnType<typeof createTestState>>;

beforeAll(async () => {
  state = await createTestState();
  api = await startTestDaemon(state.folder);
});

afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
});

async function sandbox(body: object): Promise<string> {
  const created = await api.call("POST", "/sandboxes", body);
  if (created.status !== 201) throw new Error(created.text);
  const { id } = created.json;
  onTestFinished(async () => void (await api.call("DELETE", `/sandboxes/${id}`)));
  return id;
}

test("a shell has a terminal of the wanted size, numbered output and an exit code", async () => {
  const id = await sandbox({});
  const init = { type: "init", cols: 100, rows: 30, env: { GREETING: "hi" } };
  const shell = await openStream(api.socket(`/sandboxes/${id}/shell-stream`), init);
  expect(await shell.message("ready")).toMatchObject({ sessionId: expect.any(String) });
  const output = (): string => Buffer.concat(shell.frames.map((frame) => frame.subarray(9))).toString();
  const type = (text: string): void => shell.socket.send(Buffer.concat([Buffer.of(1), Buffer.from(text)]));

  type("stty size; echo $GREETING-there\n");
  await expect.poll(output).toMatch(/30 100\r\nhi-there\r\n/);
  shell.socket.send(JSON.stringify({ type: "resize", cols: 90, rows: 20 }));
  type("stty size\n");
  await expect.poll(output).toContain("20 90");
  shell.socket.send(JSON.stringify({ type: "ack", seq: 1 }));
  type("exit 3\n");
  expect(await shell.message("exit")).toEqual({ type: "exit", code: 3 });
  await shell.closed;
  expect(shell.frames.map((frame) => frame[0])).toEqual(shell.frames.map(() => 2));
  expect(shell.frames.map((frame) => frame.readBigUInt64BE(1))).toEqual(
    shell.frames.map((_, index) => BigInt(index + 1)),
  );
});

const init = { type: "init", cols: 80, rows: 24 };

async function open(id: string, more: object = {}): Promise<StreamClient> {
  return await openStream(api.socket(`/sandboxes/${id}/shell-stream`), { ...init, ...more });
}

function type({ socket }: StreamClient, text: string): void {
  socket.send(Buffer.concat([Buffer.of(1), Buffer.from(text)]));
}

function shown({ frames }: StreamClient): string {
  return Buffer.concat(frames.map((frame) => frame.subarray(9))).toString();
}

function sequences({ frames }: StreamClient): number[] {
  return frames.map((frame) => Number(frame.readBigUInt64BE(1)));
}

async function shells(id: string): Promise<number> {
  const command = "grep -l '^bash' /proc/*/cmdline | wc -l";
  return Number((await api.call("POST", `/sandboxes/${id}/execute`, { command })).json.stdout);
}

/** Not only when it has waited for a minute. */
async function expectHungUp(id: string): Promise<void> {
  await expect.poll(async () => await shells(id), { timeout: 30_000 }).toBe(0);
}

test.each([
  ["closes its connection", (socket: WebSocket) => socket.close()],
  ["says that it closes", (socket: WebSocket) => socket.send(JSON.stringify({ type: "close" }))],
  ["sends what nobody understands", (socket: WebSocket) => socket.send("{}")],
])("a shell whose client %s is hung up", async (_what, leave) => {
  const id = await sandbox({});
  const shell = await open(id);
  await shell.message("ready");
  await expect.poll(async () => await shells(id)).toBe(1);
  leave(shell.socket);
  await shell.closed;
  await expectHungUp(id);
});

test("a shell whose client says that it closes, and breaks off before it is told, is hung up", async () => {
  const id = await sandbox({});
  const shell = await open(id);
  await shell.message("ready");
  await expect.poll(async () => await shells(id)).toBe(1);
  shell.socket.send(JSON.stringify({ type: "close" }), () => shell.socket.terminate());
  await expectHungUp(id);
});

test("a client whose connection broke goes on with its shell, and gets what it has not acknowledged", async () => {
  const id = await sandbox({});
  const first = await open(id);
  const { sessionId } = await first.message("ready");
  type(first, "cd /tmp; stty -echo; echo be''fore\n");
  await expect.poll(() => shown(first)).toContain("before\r\n");
  const acknowledged = sequences(first).at(-1) ?? 0;
  first.socket.send(JSON.stringify({ type: "ack", seq: acknowledged }));
  type(
    first,
    "echo no''ted; touch noted; while [ -e noted ]; do sleep 0.1; done; echo mis''sed; touch missed\n",
  );
  await expect.poll(() => shown(first)).toContain("noted\r\n");
  first.socket.terminate();
  await api.call("POST", `/sandboxes/${id}/execute`, {
    command: "rm /tmp/noted; until [ -e /tmp/missed ]; do sleep 0.1; done",
  });

  const second = await open(id, { sessionId, cols: 99 });
  expect(await second.message("ready")).toEqual({ type: "ready", sessionId, lastSeq: acknowledged });
  await expect.poll(() => shown(second)).toMatch(/^[^]*noted\r\n[^]*missed\r\n/);
  expect(shown(second)).not.toContain("before");
  type(second, "stty size; pwd; exit 4\n");
  expect(await second.message("exit")).toEqual({ type: "exit", code: 4 });
  expect(shown(second)).toContain("24 99\r\n/tmp\r\n");
  expect(sequences(second)).toEqual(sequences(second).map((_, index) => acknowledged + index + 1));
});

test("a shell that prints much while its client is away waits for it, and nothing is lost", async () => {
  const id = await sandbox({});
  const first = await open(id);
  const { sessionId } = await first.message("ready");
  type(first, "stty -echo; echo go''ing\n");
  await expect.poll(() => shown(first)).toContain("going\r\n");
  first.socket.terminate();
  const early = shown(first);
  const second = await open(id, { sessionId });
  await second.message("ready");
  second.socket.send(JSON.stringify({ type: "ack", seq: 0 }));
  type(second, "exec seq 250000\n");
  await expect.poll(() => shown(second)).toContain("\r\n1000\r\n");
  second.socket.terminate();
  await second.closed;

  const third = await open(id, { sessionId });
  const { lastSeq } = await third.message("ready");
  const acknowledge = (): void => {
    const seq = Number(third.frames.at(-1)?.readBigUInt64BE(1) ?? 0);
    third.socket.send(JSON.stringify({ type: "ack", seq }));
  };
  third.socket.on("message", acknowledge);
  acknowledge();
  expect(await third.message("exit")).toEqual({ type: "exit", code: 0 });
  const frames = new Map(
    [first, second, third].flatMap(({ frames: some }) =>
      some.map((frame) => [Number(frame.readBigUInt64BE(1)), frame.subarray(9)] as const),
    ),
  );
  expect([...frames.keys()]).toEqual(Array.from(frames, (_, index) => index + 1));
  expect(lastSeq).toBeLessThanOrEqual(sequences(second).at(-1) ?? 0);
  const numbers = Buffer.concat([...frames.values()])
    .toString()
    .slice(early.length)
    .split("\r\n");
  expect(numbers.filter((line) => /^\d+$/.test(line))).toEqual(
    Array.from({ length: 250_000 }, (_, index) => `${index + 1}`),
  );
});

test("the exit code of a shell that ended while its client was away is told", async () => {
  const id = await sandbox({});
  const first = await open(id);
  const { sessionId } = await first.message("ready");
  type(first, "until [ -e /tmp/end ]; do sleep 0.1; done; exit 6\n");
  await expect.poll(async () => await shells(id)).toBe(1);
  first.socket.terminate();
  await api.call("POST", `/sandboxes/${id}/execute`, { command: "touch /tmp/end" });
  await expect.poll(async () => await shells(id)).toBe(0);
  const second = await open(id, { sessionId });
  expect(await second.message("exit")).toEqual({ type: "exit", code: 6 });
  await second.closed;
  expect(await (await open(id, { sessionId })).message("error")).toMatchObject({ code: "shell_not_found" });
});

test("a client that comes back while its old connection is still there has the shell, and the old one is told", async () => {
  const id = await sandbox({});
  const first = await open(id);
  const { sessionId } = await first.message("ready");
  const second = await open(id, { sessionId });
  expect(await first.message("error")).toMatchObject({ code: "wrong_state" });
  type(second, "exit 2\n");
  expect(await second.message("exit")).toEqual({ type: "exit", code: 2 });
});

test("an attempt to come back that its client has given up does not take the shell from a later one", async () => {
  const id = await sandbox({});
  const first = await open(id);
  const { sessionId } = await first.message("ready");
  const late = await open(id, { sessionId });
  // It answers nothing any more.
  late.socket.pause();
  const sayReady = setTimeout(() => late.socket.terminate(), 1000);
  onTestFinished(() => clearTimeout(sayReady));
  await late.closed;
  type(first, "exit 5\n");
  expect(await first.message("exit")).toEqual({ type: "exit", code: 5 });
  expect(first.messages.map(({ type: what }) => what)).toEqual(["ready", "exit"]);
});

test("of many shells of one sandbox that wait for their clients, those are kept that have waited least", async () => {
  const id = await sandbox({});
  const oldest = await open(id);
  const { sessionId } = await oldest.message("ready");
  const others = await Promise.all(Array.from({ length: 17 }, async () => await open(id)));
  for (const shell of [...others, oldest]) {
    await shell.message("ready");
    shell.socket.terminate();
    await shell.closed;
  }
  // A new one has the place of those that wait for longest.
  await expect
    .poll(async () => {
      const shell = await open(id);
      await shell.message("ready");
      shell.socket.close();
      await shell.closed;
      return await shells(id);
    })
    .toBe(16);
  expect(await (await open(id, { sessionId })).message("ready")).toMatchObject({ sessionId });
});

test("a shell of another sandbox is none to come back to", async () => {
  const [one, other] = [await sandbox({}), await sandbox({})];
  const { sessionId } = await (await open(one)).message("ready");
  expect(await (await open(other, { sessionId })).message("error")).toMatchObject({
    code: "shell_not_found",
  });
  expect(await (await open(one, { sessionId: "no" })).message("error")).toMatchObject({
    code: "shell_not_found",
  });
});

test("a shell that nobody comes back to is hung up after a minute", async () => {
  const id = await sandbox({});
  const shell = await open(id);
  await shell.message("ready");
  await expect.poll(async () => await shells(id)).toBe(1);
  const began = performance.now();
  shell.socket.terminate();
  await expect.poll(async () => await shells(id), { timeout: 120_000, interval: 1000 }).toBe(0);
  expect(performance.now() - began).toBeGreaterThan(55_000);
});

test("a start command runs, its outputs are in the logs, and its port is published", async () => {
  const guestPort = await findFreePort();
  const hostPort = await findFreePort();
  const id = await sandbox({
    start_command: `echo started; echo oops >&2; exec python3 -m http.server ${guestPort} --bind 127.0.0.1`,
    open_ports: [{ guest_port: guestPort, host_port: hostPort }],
  });
  const page = async (): Promise<number> =>
    await fetch(`http://127.0.0.1:${hostPort}/`, { signal: AbortSignal.timeout(2000) }).then(
      ({ status }) => status,
      () => 0,
    );
  await expect.poll(page).toBe(200);
  const { logs } = (await api.call("GET", `/sandboxes/${id}/logs`)).json;
  expect(logs).toContainEqual(expect.objectContaining({ source: "stdout", message: "started" }));
  expect(logs).toContainEqual(expect.objectContaining({ source: "stderr", message: "oops" }));

  const socket = api.socket(`/sandboxes/${id}/logs/stream?backlog=100`);
  const lines: string[] = [];
  socket.on("message", (data: Buffer) => lines.push(JSON.parse(data.toString()).message));
  await expect.poll(() => lines).toEqual(expect.arrayContaining(["started", "oops"]));
  socket.close();
  await once(socket, "close");

  await api.call("POST", `/sandboxes/${id}/kill`);
  expect(await page()).toBe(0);
});

test("a host port that is taken stops the create, and nothing is left", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  try {
    const answer = await api.call("POST", "/sandboxes", { name: "late", open_ports: [port] });
    expect(answer).toMatchObject({ status: 409, json: { code: "name_taken", details: { port } } });
    expect((await api.call("GET", "/sandboxes?all=true")).json).toEqual([]);
  } finally {
    server.close();
  }
});
