/** Shells over connections that break, against a real daemon. */
import { once } from "node:events";
import type { Readable } from "node:stream";

import type { WebSocket } from "ws";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";
import { DaemonLostError } from "./daemon-lost.ts";
import { openShell } from "./shell.ts";
import { type Network, startNetworkTo } from "./testing/bad-network.ts";
import { startWireServer, type WireServer } from "./testing/wire-server.ts";

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

async function sandbox(): Promise<string> {
  const { json } = await api.call("POST", "/sandboxes", {});
  onTestFinished(async () => void (await api.call("DELETE", `/sandboxes/${json.id}`)));
  return json.id;
}

async function startNetwork(kind?: "url"): Promise<Network> {
  const network = await startNetworkTo(api.socketPath, kind);
  onTestFinished(async () => await network[Symbol.asyncDispose]());
  return network;
}

function collect(output: Readable): () => string {
  let text = "";
  output.on("data", (chunk: Buffer) => (text += chunk.toString()));
  return () => text;
}

async function shells(id: string): Promise<number> {
  const command = "grep -l '^bash' /proc/*/cmdline | wc -l";
  return Number((await api.call("POST", `/sandboxes/${id}/execute`, { command })).json.stdout);
}

test("a shell goes on where it was when its connection comes back, with what was printed and typed meanwhile", async () => {
  const network = await startNetwork();
  const id = await sandbox();
  const shell = await openShell(network.endpoint, id);
  const shown = collect(shell.output);
  shell.input.write("stty -echo; cd /tmp; (sleep 1; echo mean''while) & echo be''gun\n");
  await expect.poll(shown).toContain("begun\r\n");
  network.isDown = true;
  network.cut();
  shell.resize({ cols: 99, rows: 11 });
  shell.input.write("pwd; stty size; exit 7\n");
  const command = "while pgrep -x sleep; do sleep 0.1; done";
  await api.call("POST", `/sandboxes/${id}/execute`, { command });
  network.isDown = false;
  expect(await shell.exit).toBe(7);
  expect(shown().match(/begun|meanwhile|\/tmp\r|11 99/g)).toEqual(["begun", "meanwhile", "/tmp\r", "11 99"]);
});

/** All that `seq 1 count` prints, and nothing twice. */
function expectNumbers(text: string, first: number, count: number): void {
  const numbers = text.split("\r\n").filter((line) => /^\d+$/.test(line));
  expect(numbers).toEqual(Array.from({ length: count }, (_, index) => `${index + first}`));
}

test("what a shell prints comes whole and once, however often its connection breaks", async () => {
  const network = await startNetwork();
  const shell = await openShell(network.endpoint, await sandbox());
  const shown = collect(shell.output);
  let cutAt = 20_000;
  shell.output.on("data", () => {
    if (shown().length < cutAt) return;
    cutAt += 20_000;
    network.cut();
  });
  shell.input.write(
    "exec sh\nstty -echo; echo; for i in $(seq 0 29); do seq $((i * 1000 + 1)) $((i * 1000 + 1000)); sleep 0.02; done; exit\n",
  );
  expect(await shell.exit).toBe(0);
  expectNumbers(shown(), 1, 30_000);
  expect(cutAt).toBeGreaterThan(100_000);
});

test("a shell that waits for what its client has acknowledged goes on when that was lost on its way", async () => {
  const network = await startNetwork();
  const id = await sandbox();
  const shell = await openShell(network.endpoint, id);
  const shown = collect(shell.output);
  shell.input.write(
    "exec sh\nstty -echo; echo wai''ting; until [ -e /tmp/go ]; do sleep 0.1; done; seq 250000; exit\n",
  );
  await expect.poll(shown).toContain("waiting\r\n");
  network.isMute = true;
  await openShell({ kind: "socket", socketPath: api.socketPath }, id).then((other) =>
    other.input.write("touch /tmp/go; exit\n"),
  );
  await expect.poll(() => shown().length).toBeGreaterThan(900_000);
  network.isMute = false;
  network.cut();
  expect(await shell.exit).toBe(0);
  expectNumbers(shown(), 1, 250_000);
});

test("a shell that prints much and is typed much at the same time goes on", async () => {
  const shell = await openShell({ kind: "socket", socketPath: api.socketPath }, await sandbox());
  const shown = collect(shell.output);
  const lines = Array.from(
    { length: 1500 },
    (_, index) => `seq ${index * 1000 + 1} ${index * 1000 + 1000} # ${"x".repeat(3000)}\n`,
  );
  shell.input.write("exec sh\nstty -echo; PS1=; echo wai''ting\n");
  await expect.poll(shown).toContain("waiting\r\n");
  shell.input.write(`${lines.join("")}exit\n`);
  expect(await shell.exit).toBe(0);
  expectNumbers(shown(), 1, 1_500_000);
});

test("a network that swallows everything for a while ends no shell", async () => {
  const network = await startNetwork();
  const shell = await openShell(network.endpoint, await sandbox());
  network.isMute = true;
  network.cut();
  await expect.poll(() => network.connections).toBe(2);
  network.isMute = false;
  shell.input.write("exit 7\n");
  expect(await shell.exit).toBe(7);
});

test("a shell that is left while its connection is broken rejects at once", async () => {
  const network = await startNetwork();
  const id = await sandbox();
  const given = new AbortController();
  const [one, other] = [
    await openShell(network.endpoint, id),
    await openShell(network.endpoint, id, { signal: given.signal }),
  ];
  network.isDown = true;
  network.cut();
  const began = performance.now();
  one.close();
  given.abort(new Error("enough"));
  await expect(one.exit).rejects.toBeInstanceOf(DaemonLostError);
  await expect(other.exit).rejects.toMatchObject({ code: "aborted" });
  expect(performance.now() - began).toBeLessThan(20_000);
});

test("a shell whose sandbox was stopped while its connection was broken says so", async () => {
  const network = await startNetwork();
  const id = await sandbox();
  const shell = await openShell(network.endpoint, id);
  network.isDown = true;
  network.cut();
  await api.call("POST", `/sandboxes/${id}/kill`);
  network.isDown = false;
  await expect(shell.exit).rejects.toThrow("was stopped");
});

test.each(["close", "abort"] as const)("a shell that is left by %s is hung up at once", async (how) => {
  const id = await sandbox();
  const given = new AbortController();
  const endpoint = { kind: "socket", socketPath: api.socketPath } as const;
  const shell = await openShell(endpoint, id, { signal: given.signal });
  await expect.poll(async () => await shells(id)).toBe(1);
  if (how === "close") shell.close();
  else given.abort();
  await expect(shell.exit).rejects.toMatchObject({
    code: how === "close" ? "daemon_unavailable" : "aborted",
  });
  // Not only when it has waited for a minute.
  await expect.poll(async () => await shells(id), { timeout: 30_000 }).toBe(0);
});

/** What a daemon's shells are told, connection by connection. */
type Told = string[][];

function ready(socket: WebSocket): void {
  socket.send(JSON.stringify({ type: "ready", sessionId: "one", lastSeq: 0 }));
}

/** A daemon that breaks the first connection off, and does with the later ones what `serve` says. */
async function startDaemon(
  told: Told,
  serve: (socket: WebSocket, connection: number) => void,
): Promise<WireServer> {
  return await startWireServer({
    webSocket(socket) {
      const orders: string[] = [];
      const connection = told.push(orders);
      socket.on("message", (data: Buffer, isBinary) => void (isBinary || orders.push(data.toString())));
      socket.once("message", () => {
        if (connection > 1) return serve(socket, connection);
        ready(socket);
        setTimeout(() => socket.terminate(), 100);
      });
    },
  });
}

test("an attempt to come back that takes too long hangs nothing up: the next one has the shell", async () => {
  const told: Told = [];
  await using server = await startDaemon(told, (socket, connection) => {
    if (connection === 2) return;
    ready(socket);
    socket.send(JSON.stringify({ type: "exit", code: 5 }));
  });
  const shell = await openShell(server.endpoint, "box");
  expect(await shell.exit).toBe(5);
  expect(told).toHaveLength(3);
  expect(told[1]).toEqual([expect.stringContaining('"sessionId":"one"')]);
});

test("what a proxy says that does not reach the daemon for a while ends no shell", async () => {
  let connections = 0;
  await using server = await startWireServer({
    refusal: () =>
      ++connections === 2 ? "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n" : undefined,
    webSocket(socket) {
      ready(socket);
      if (connections === 1) setTimeout(() => socket.terminate(), 100);
      else socket.send(JSON.stringify({ type: "exit", code: 5 }));
    },
  });
  const shell = await openShell(server.endpoint, "box");
  expect(await shell.exit).toBe(5);
  expect(connections).toBe(3);
});

test("a size that is given while a shell comes back is told when it has", async () => {
  const told: Told = [];
  await using server = await startDaemon(told, (socket) => {
    shell.resize({ cols: 99, rows: 11 });
    ready(socket);
    socket.on("message", (data: Buffer) => {
      if (data.includes("resize")) socket.send(JSON.stringify({ type: "exit", code: 0 }));
    });
  });
  const shell = await openShell(server.endpoint, "box");
  expect(await shell.exit).toBe(0);
  expect(told[1]?.map((order) => JSON.parse(order))).toContainEqual({ type: "resize", cols: 99, rows: 11 });
});

test("what comes after the end of a shell is of no use", async () => {
  await using server = await startWireServer({
    webSocket(socket) {
      ready(socket);
      socket.send(JSON.stringify({ type: "exit", code: 4 }));
      ready(socket);
      socket.send(Buffer.concat([Buffer.of(2, 0, 0, 0, 0, 0, 0, 0, 1), Buffer.from("late")]));
      socket.send(JSON.stringify({ type: "exit", code: 6 }));
    },
  });
  const shell = await openShell(server.endpoint, "box");
  const shown = collect(shell.output);
  expect(await shell.exit).toBe(4);
  await once(shell.output, "end");
  expect(shown()).toBe("");
});

test("a daemon that says the end of a shell before its beginning has lost it", async () => {
  await using server = await startWireServer({
    webSocket: (socket) => socket.send(JSON.stringify({ type: "exit", code: 4 })),
  });
  await expect(openShell(server.endpoint, "box")).rejects.toBeInstanceOf(DaemonLostError);
});

test("a network that has gone silent under typed keys is left for another one", async () => {
  const network = await startNetwork("url");
  const shell = await openShell(network.endpoint, await sandbox());
  const shown = collect(shell.output);
  shell.input.write("stty -echo; word=ti''de; echo rea''dy\n");
  await expect.poll(shown).toContain("ready\r\n");
  network.swallow();
  shell.input.write("echo never seen\n");
  await expect.poll(() => network.connections, { timeout: 45_000 }).toBe(2);
  shell.input.write("echo high-$word; exit 3\n");
  expect(await shell.exit).toBe(3);
  expect(shown()).toContain("high-tide\r\n");
});

test("a guest that prints, and takes nothing of much input for a while, is no silent network", async () => {
  const network = await startNetwork("url");
  const shell = await openShell(network.endpoint, await sandbox());
  const shown = collect(shell.output);
  shell.input.write(
    "exec sh\nstty raw -echo; echo wai''ting; sleep 6; echo mid; sleep 40; head -c 12000000 | wc -c; exit 3\n",
  );
  await expect.poll(shown).toContain("waiting");
  shell.input.write(Buffer.alloc(12_000_000, "x"));
  expect(await shell.exit).toBe(3);
  expect(shown()).toContain("12000000");
  expect(network.connections).toBe(1);
});

test("a daemon that gives a client that comes back another shell has lost the one that it had", async () => {
  let opened = 0;
  await using server = await startWireServer({
    webSocket: (socket) => {
      opened += 1;
      socket.send(JSON.stringify({ type: "ready", sessionId: `shell ${opened}` }));
      socket.send(Buffer.concat([Buffer.of(2, 0, 0, 0, 0, 0, 0, 0, 1), Buffer.from("at once")]));
      if (opened === 1) socket.on("message", () => socket.terminate());
    },
  });
  const shell = await openShell(server.endpoint, "box");
  const shown = collect(shell.output);
  await expect(shell.exit).rejects.toBeInstanceOf(DaemonLostError);
  expect(shown()).toBe("at once");
  expect(opened).toBe(2);
});

test("a shell whose daemon has died is lost at once", async () => {
  await using other = await createTestState();
  await using daemon = await startTestDaemon(other.folder);
  await daemon.call("POST", "/sandboxes", { name: "box" });
  const shell = await openShell({ kind: "socket", socketPath: daemon.socketPath }, "box");
  const began = performance.now();
  await daemon.kill("SIGKILL");
  await expect(shell.exit).rejects.toBeInstanceOf(DaemonLostError);
  expect(performance.now() - began).toBeLessThan(30_000);
});
