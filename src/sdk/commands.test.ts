import { describe, expect, test } from "vitest";
import type { WebSocket } from "ws";

import { execCommand, spawnCommand } from "./commands.ts";
import { createDeferred } from "../core/deferred.ts";
import { answerJson, startWireServer, type WireServer } from "./testing/wire-server.ts";
import { parseMessage } from "./wire.ts";

const exitZero = JSON.stringify({ type: "exit", code: 0, signal: null, timed_out: false });
const started = JSON.stringify({ type: "started", pid: 7 });

/** A daemon whose only command is played by `play`, after its init was read. */
function playing(play: (socket: WebSocket, init: Record<string, unknown>) => void): Promise<WireServer> {
  return startWireServer({
    webSocket: (socket) =>
      socket.once("message", (data: Buffer) => play(socket, JSON.parse(data.toString("utf8")))),
  });
}

const output = (channel: number, text: string): Buffer =>
  Buffer.concat([Buffer.of(channel), Buffer.from(text)]);

describe("exec", () => {
  test("gathers both outputs and the exit status", async () => {
    const seen = createDeferred<Record<string, unknown>>();
    await using server = await playing((socket, init) => {
      seen.resolve(init);
      socket.send(started);
      socket.send(output(1, "out"));
      socket.send(output(2, "err"));
      socket.send(JSON.stringify({ type: "exit", code: null, signal: "SIGKILL", timed_out: true }));
    });
    const result = await execCommand(server.endpoint, "sb-00000001", "ls", ["-l"], {
      cwd: "/",
      timeoutMs: 5,
    });
    expect(result).toEqual({
      stdout: "out",
      stderr: "err",
      exitCode: null,
      signal: "SIGKILL",
      timedOut: true,
      truncated: false,
    });
    expect(await seen.promise).toEqual({
      type: "init",
      command: "ls",
      args: ["-l"],
      cwd: "/",
      timeout_ms: 5,
      stdin: false,
    });
  });

  test("output beyond the limit is dropped and told", async () => {
    await using server = await playing((socket) => {
      socket.send(started);
      socket.send(output(1, "0123456789"));
      socket.send(exitZero);
    });
    const result = await execCommand(server.endpoint, "sb-00000001", "ls", [], { maxOutputBytes: 4 });
    expect(result).toMatchObject({ stdout: "0123", truncated: true });
  });

  test("an error message is thrown with its code", async () => {
    await using server = await playing((socket) => {
      const problem = { title: "", status: 422, detail: "", retryable: false, request_id: "r" };
      const error = { ...problem, type: "error", error: "no program nope", code: "command_not_startable" };
      socket.send(JSON.stringify(error));
    });
    const result = execCommand(server.endpoint, "sb-00000001", "nope", []);
    await expect(result).rejects.toMatchObject({ code: "command_not_startable", message: "no program nope" });
  });

  test("a connection that breaks before the end is daemon_unavailable", async () => {
    await using server = await playing((socket) => {
      socket.send(started);
      socket.terminate();
    });
    const result = execCommand(server.endpoint, "sb-00000001", "ls", []);
    await expect(result).rejects.toMatchObject({ code: "daemon_unavailable" });
  });

  test("the caller's signal ends a command that runs", async () => {
    const controller = new AbortController();
    const closed = createDeferred<void>();
    await using server = await playing((socket) => {
      socket.on("close", () => closed.resolve());
      socket.send(started, () => controller.abort());
    });
    const result = execCommand(server.endpoint, "sb-00000001", "sleep", ["9"], { signal: controller.signal });
    await expect(result).rejects.toMatchObject({ code: "aborted" });
    await closed.promise;
  });
});

describe("spawn", () => {
  test("input arrives whole and in order, with an empty frame at its end", async () => {
    const received: Buffer[] = [];
    await using server = await playing((socket) => {
      socket.on("message", (frame: Buffer) => {
        received.push(frame);
        if (frame.length === 1) socket.send(exitZero);
      });
      socket.send(started);
    });
    const running = await spawnCommand(server.endpoint, "sb-00000001", "cat", []);
    const input = Buffer.from(Array.from({ length: 200_000 }, (_, index) => index % 251));
    running.stdin.end(input);
    running.stdout.resume();
    expect(await running.exit).toMatchObject({ exitCode: 0 });
    expect(received.every((frame) => frame[0] === 0)).toBe(true);
    expect(Buffer.concat(received.map((frame) => frame.subarray(1))).equals(input)).toBe(true);
  });

  test("a reader that stops holds the daemon back, and gets everything when it goes on", async () => {
    const frame = Buffer.concat([Buffer.of(1), Buffer.alloc(65_536, 1)]);
    const frames = 1000;
    let daemonSide: WebSocket | undefined;
    await using server = await playing((socket) => {
      daemonSide = socket;
      socket.send(started);
      for (let index = 0; index < frames; index += 1) socket.send(frame);
      socket.send(exitZero);
    });
    const running = await spawnCommand(server.endpoint, "sb-00000001", "yes", []);
    running.stderr.resume();
    // Reads a little and stops: the rest must wait on the daemon's side.
    await new Promise<void>((resolve) => running.stdout.once("readable", resolve));
    const buffered = daemonSide?.bufferedAmount ?? 0;
    expect(buffered).toBeGreaterThan(frames * 65_536 * 0.5);
    let bytes = 0;
    for await (const chunk of running.stdout as AsyncIterable<Buffer>) bytes += chunk.length;
    expect(bytes).toBe(frames * 65_536);
    expect(await running.exit).toMatchObject({ exitCode: 0 });
  });

  test("a signal goes to the command as a message", async () => {
    await using server = await playing((socket) => {
      socket.on("message", (data: Buffer) => {
        const { signal } = parseMessage<{ signal: string }>(data.toString("utf8"));
        socket.send(JSON.stringify({ type: "exit", code: null, signal, timed_out: false }));
      });
      socket.send(started);
    });
    const running = await spawnCommand(server.endpoint, "sb-00000001", "sleep", ["9"]);
    running.kill("SIGINT");
    expect(await running.exit).toMatchObject({ signal: "SIGINT" });
  });

  test("the reason of a daemon that refuses is heard", async () => {
    const problem = { error: "sandbox web is stopped", code: "wrong_state", hint: "heyvm start web" };
    await using server = await startWireServer({
      http: (_request, answer) => answerJson(answer, 409, problem),
    });
    const running = spawnCommand(server.endpoint, "sb-00000001", "ls", []);
    await expect(running).rejects.toMatchObject({ code: "wrong_state", hint: "heyvm start web" });
  });
});
