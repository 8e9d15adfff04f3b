import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";
import { openStream, type StreamClient } from "./testing/web-socket-client.ts";

let api: TestDaemon;
let state: Awaited<ReturnType<typeof createTestState>>;

beforeAll(async () => {
  state = await createTestState();
  api = await startTestDaemon(state.folder);
  const created = await api.call("POST", "/sandboxes", { name: "box", env_vars: { A: "box's" } });
  if (created.status !== 201) throw new Error(created.text);
});

afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
});

async function exec(init: object): Promise<StreamClient> {
  return await openStream(api.socket("/sandboxes/box/exec"), { type: "init", ...init });
}

/** Stdin frame; without text, the end of input. */
function input(text: string | Buffer = ""): Buffer {
  return Buffer.concat([Buffer.of(0), Buffer.from(text)]);
}

test("a program's arguments are seen by no shell, a command line is", async () => {
  const program = await api.call("POST", "/sandboxes/box/execute", { command: "echo", args: ["$A", "b c"] });
  expect(program.json.stdout).toBe("$A b c\n");
  const line = await api.call("POST", "/sandboxes/box/execute", { command: 'echo "$A" $B', env: { B: "1" } });
  expect(line.json.stdout).toBe("box's 1\n");
});

test("both outputs, the exit code and the input are kept apart", async () => {
  const { json } = await api.call("POST", "/sandboxes/box/execute", {
    command: "cat; echo err >&2; kill -KILL $$",
    stdin: "in",
  });
  expect(json).toMatchObject({ stdout: "in", stderr: "err\n", exit_code: 137, signal: "SIGKILL" });
});

test("a timeout ends the command and delivers what was printed", async () => {
  let printed = "";
  // How long it takes to print something is the machine's business.
  for (let timeout = 0.5; printed === ""; timeout *= 2) {
    const command = "echo before; sleep 600";
    const { json } = await api.call("POST", "/sandboxes/box/execute", { command, timeout });
    expect(json).toMatchObject({ timed_out: true, exit_code: 124 });
    printed = json.stdout;
  }
  expect(printed).toBe("before\n");
});

test("an output beyond the limit is dropped, and told", async () => {
  const { json } = await api.call("POST", "/sandboxes/box/execute", {
    command: "head -c 1000000 /dev/zero | tr '\\0' x",
    output_limit: 1000,
  });
  expect(json).toMatchObject({ stdout: "x".repeat(1000), stdout_truncated: true, stdout_bytes: 1_000_000 });
  expect(json).toMatchObject({ stderr_truncated: false });
});

test("two hundred commands at once all succeed, each with its own output", async () => {
  const answers = await Promise.all(
    Array.from(
      { length: 200 },
      async (_, index) => await api.call("POST", "/sandboxes/box/execute", { command: `echo ${index}` }),
    ),
  );
  expect(answers.map(({ json }) => json.stdout)).toEqual(answers.map((_, index) => `${index}\n`));
}, 120_000);

test("a missing program is an error that says so", async () => {
  const answer = await api.call("POST", "/sandboxes/box/execute", { command: "no-such-program", args: [] });
  expect(answer).toMatchObject({ status: 422, json: { code: "command_not_startable" } });
});

test("a command of a sandbox that does not exist is not found", async () => {
  const answer = await api.call("POST", "/sandboxes/other/execute", { command: "true" });
  expect(answer).toMatchObject({
    status: 404,
    json: { code: "sandbox_not_found", hint: "heyvm list --all" },
  });
});

test("a streamed command gets its input and tells its end", async () => {
  const stream = await exec({ command: "cat; echo done >&2; exit 5", stdin: true });
  stream.socket.send(input("one "));
  stream.socket.send(input("two"));
  stream.socket.send(input());
  await stream.closed;
  expect(stream.bytes(1).toString()).toBe("one two");
  expect(stream.bytes(2).toString()).toBe("done\n");
  expect(stream.messages).toMatchObject([
    { type: "started", pid: expect.any(Number) },
    { type: "exit", code: 5, signal: null, timed_out: false },
  ]);
});

test("without stdin, a command sees the end of its input at once", async () => {
  const stream = await exec({ command: "cat" });
  await stream.closed;
  expect(stream.messages.at(-1)).toMatchObject({ type: "exit", code: 0 });
});

test("a hundred megabytes arrive whole and in order at a slow client", async () => {
  const stream = await exec({ command: "seq 1 12000000" });
  await stream.message("started");
  stream.socket.pause();
  await api.call("GET", "/health");
  stream.socket.resume();
  await stream.closed;
  const output = stream.bytes(1);
  const expected = createHash("sha256");
  let part = "";
  for (let number = 1; number <= 12_000_000; number += 1) {
    part += `${number}\n`;
    if (part.length > 1_000_000) {
      expected.update(part);
      part = "";
    }
  }
  expected.update(part);
  expect(output.length).toBe(96_888_897);
  expect(createHash("sha256").update(output).digest("hex")).toBe(expected.digest("hex"));
}, 120_000);

test("a signal reaches the command", async () => {
  const stream = await exec({
    command: "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done",
  });
  await expect.poll(() => stream.bytes(1).toString()).toBe("ready\n");
  stream.socket.send(JSON.stringify({ type: "signal", signal: "SIGINT" }));
  await stream.closed;
  expect(stream.bytes(1).toString()).toBe("ready\ncaught\n");
  expect(stream.messages.at(-1)).toMatchObject({ type: "exit", code: 9 });
});

test("the command of a client that goes away is ended", async () => {
  const stream = await exec({ command: "echo $$; exec sleep 600" });
  await expect.poll(() => stream.bytes(1).toString()).toMatch(/^\d+\n$/);
  const guestPid = stream.bytes(1).toString().trim();
  stream.socket.terminate();
  const isUp = async (): Promise<string> =>
    (await api.call("POST", "/sandboxes/box/execute", { command: `test -e /proc/${guestPid} && echo up` }))
      .json.stdout;
  await expect.poll(isUp).toBe("");
});

test.each([
  ["no init", { type: "start" }, "type"],
  ["an unknown field", { type: "init", command: "true", timeout: 1 }, "timeout"],
  ["no command", { type: "init" }, "command"],
])("a stream that begins with %s is refused with the field", async (_what, init, field) => {
  const stream = await openStream(api.socket("/sandboxes/box/exec"), init);
  await stream.closed;
  expect(stream.messages).toMatchObject([{ type: "error", code: "invalid_argument", details: { field } }]);
});

test("a stream of a sandbox that does not exist is refused before it opens", async () => {
  const socket = api.socket("/sandboxes/other/exec");
  const [error] = await once(socket, "error");
  expect(String(error)).toContain("404");
});

test.each(["/sandboxes/%zz/exec", "//", "/sandboxes/box/exec/", "/?"])(
  "a stream at %s, where there is none, is refused as such",
  async (path) => {
    const [error] = await once(api.socket(path), "error");
    expect(String(error)).toContain("404");
  },
);

test("a client that was refused and does not leave is let go", async () => {
  const socket = connect({ path: api.socketPath, allowHalfOpen: true });
  socket.write(
    "GET /sandboxes/other/exec HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
  );
  socket.resume();
  await once(socket, "end");
  // What is written to an end that is closed fails.
  const failure = once(socket, "error");
  const writing = setInterval(() => socket.write("x"), 500);
  onTestFinished(() => clearInterval(writing));
  expect(await failure).toMatchObject([{ code: "EPIPE" }]);
});

test("the logs have the console's lines", async () => {
  const { json } = await api.call("GET", "/sandboxes/box/logs?limit=1");
  expect(json).toMatchObject({ logs: [{ source: "console", message: "second line" }], total: 2 });
});

test("followed logs begin with the backlog", async () => {
  const socket = api.socket("/sandboxes/box/logs/stream?backlog=2");
  const lines: string[] = [];
  socket.on("message", (data: Buffer) => lines.push(JSON.parse(data.toString()).message));
  await expect.poll(() => lines).toEqual(["test console", "second line"]);
  socket.close();
});
