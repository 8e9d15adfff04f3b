/** Clients that are gone without a word, and such as are only slow. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, test, vi } from "vitest";
import { WebSocket } from "ws";

import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";
import { openStream, type StreamClient } from "./testing/web-socket-client.ts";

/** Twice as long as the daemon takes to look. */
const twoLooksMs = 25_000;
let api: TestDaemon;
let state: Awaited<ReturnType<typeof createTestState>>;
let token: string;

beforeAll(async () => {
  state = await createTestState();
  const env = { TEST_TCP: "1", HEYVM_API_PORT: "0" };
  api = await startTestDaemon(state.folder, env);
  token = (await readFile(join(state.folder, "token"), "utf8")).trim();
  const created = await api.call("POST", "/sandboxes", { name: "box" });
  if (created.status !== 201) throw new Error(created.text);
});

afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
});

function connect(over: "a unix socket" | "TCP", path: string): WebSocket {
  if (over === "a unix socket") return api.socket(path);
  const url = `${String(api.info["url"]).replace("http:", "ws:")}${path}`;
  return new WebSocket(url, { headers: { authorization: `Bearer ${token}` } });
}

/** Sends until nobody takes any more, so that the daemon has paused the socket. */
async function flood({ socket }: StreamClient, frame: Buffer): Promise<void> {
  for (let sent = 0; sent < 48; sent += 1) socket.send(frame);
  let before = -1;
  await vi.waitFor(
    () => {
      const now = socket.bufferedAmount;
      // It may even grow, by answers to pings.
      const isStuck = before > 0 && now >= before;
      before = now;
      if (!isStuck) throw new Error("the daemon still reads");
    },
    { timeout: 60_000, interval: 300 },
  );
}

async function runs(pid: number): Promise<boolean> {
  const command = `test -d /proc/${pid} && ! grep -q '^State:.Z' /proc/${pid}/status`;
  return (await api.call("POST", "/sandboxes/box/execute", { command })).json.exit_code === 0;
}

const million = Buffer.alloc(1_048_576);

for (const over of ["a unix socket", "TCP"] as const) {
  test.concurrent(`over ${over}, a command ends whose client was killed while it did not read its input`, async ({
    expect,
  }) => {
    const init = { type: "init", command: "exec sleep 1000", stdin: true };
    const client = await openStream(connect(over, "/sandboxes/box/exec"), init);
    const { pid } = await client.message("started");
    await flood(client, million);
    expect(await runs(pid)).toBe(true);
    client.socket.terminate();
    await expect.poll(async () => await runs(pid)).toBe(false);
  });

  test.concurrent(`over ${over}, a client stays that reads nothing and whose input nobody reads`, async ({
    expect,
  }) => {
    const fifo = over === "TCP" ? "/tmp/tcp" : "/tmp/unix";
    const command = `head -c 8000000 /dev/zero; read -r go < ${fifo}; head -c 1 >/dev/null; echo end >&2`;
    await api.call("POST", "/sandboxes/box/execute", { command: `rm -f ${fifo}; mkfifo ${fifo}` });
    const init = { type: "init", command, stdin: true };
    const client = await openStream(connect(over, "/sandboxes/box/exec"), init);
    await client.message("started");
    client.socket.pause();
    await flood(client, million);
    // No answer to anything.
    await new Promise((resolve) => setTimeout(resolve, twoLooksMs));
    client.socket.resume();
    await api.call("POST", "/sandboxes/box/execute", { command: `echo > ${fifo}`, timeout: 20 });
    expect(await client.message("exit")).toMatchObject({ code: 0 });
    expect(client.bytes(1).length).toBe(8_000_000);
    expect(client.bytes(2).toString()).toBe("end\n");
  });
}
