import { createServer } from "node:net";
import { once } from "node:events";

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { findFreePort } from "../libvirt/testing/free-port.ts";
import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";
import { openStream } from "./testing/web-socket-client.ts";

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

test("a shell whose client goes away is hung up", async () => {
  const id = await sandbox({});
  const shell = await openStream(api.socket(`/sandboxes/${id}/shell-stream`), {
    type: "init",
    cols: 80,
    rows: 24,
  });
  await shell.message("ready");
  const count = async (): Promise<string> =>
    (
      await api.call("POST", `/sandboxes/${id}/execute`, {
        command: "grep -l '^bash' /proc/*/cmdline | wc -l",
      })
    ).json.stdout;
  await expect.poll(count).toBe("1\n");
  shell.socket.terminate();
  await expect.poll(count).toBe("0\n");
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
