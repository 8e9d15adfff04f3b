import { createServer } from "node:http";
import { Readable } from "node:stream";

import { describe, expect, onTestFinished, test } from "vitest";

import { HeyvmError } from "../errors/index.ts";
import { DaemonLostError } from "./daemon-lost.ts";
import { createDeferred } from "../core/deferred.ts";
import { requestWithProgress, type Step } from "./progress.ts";
import { NotFoundError } from "./remote-error.ts";
import { answerJson, startWireServer } from "./testing/wire-server.ts";
import { createTransport } from "./transport.ts";

const problem = {
  type: "about:blank",
  title: "Not found",
  status: 404,
  detail: "there is no sandbox nobody",
  error: "there is no sandbox nobody",
  code: "sandbox_not_found",
  retryable: false,
  hint: "heyvm list --all",
  details: { reference: "nobody" },
  request_id: "req-1",
};

const lines = (...events: object[]): string => events.map((event) => `${JSON.stringify(event)}\n`).join("");

describe("requests", () => {
  test("a problem document becomes a typed error with the same code, hint and details", async () => {
    await using server = await startWireServer({
      http: (_request, answer) => answerJson(answer, 404, problem),
    });
    const error = await createTransport(server.endpoint)
      .json("GET", "/sandboxes/nobody")
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NotFoundError);
    expect(error).toMatchObject({
      code: "sandbox_not_found",
      message: problem.error,
      hint: problem.hint,
      details: problem.details,
      requestId: "req-1",
    });
  });

  test("an answer that is no problem document is told with its status and beginning", async () => {
    await using server = await startWireServer({
      http: (_request, answer) => answer.writeHead(502).end("<html>bad gateway</html>"),
    });
    const request = createTransport(server.endpoint).json("GET", "/health");
    await expect(request).rejects.toThrow(/502 without a reason: <html>bad gateway/);
  });

  test("a connection that was kept, and is closed when it is used again, loses no removal", async () => {
    const used = new WeakSet<object>();
    const seen: string[] = [];
    const server = createServer((request, answer) => {
      const isReused = used.has(request.socket);
      seen.push(`${request.method} ${isReused ? "lost" : "answered"}`);
      used.add(request.socket);
      if (isReused) request.socket.destroy();
      else answerJson(answer, 200, {});
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("it has no port");
    const url = new URL(`http://127.0.0.1:${address.port}`);
    const transport = createTransport({ kind: "url", url, token: undefined });
    onTestFinished(() => {
      transport.close();
      server.closeAllConnections();
      server.close();
    });
    await transport.json("GET", "/health");
    await transport.json("DELETE", "/sandboxes/web");
    // What cannot be done twice is told of.
    await expect(transport.json("POST", "/sandboxes", { body: {} })).rejects.toBeInstanceOf(DaemonLostError);
    expect(seen).toEqual(["GET answered", "DELETE lost", "DELETE answered", "POST lost"]);
  });

  test("on a unix socket, no connection is kept", async () => {
    const kept: unknown[] = [];
    await using server = await startWireServer({
      http: (request, answer) => {
        kept.push(request.headers.connection);
        answerJson(answer, 200, {});
      },
    });
    const transport = createTransport(server.endpoint);
    await transport.json("GET", "/health");
    await transport.json("DELETE", "/sandboxes/web");
    expect(kept).toEqual(["close", "close"]);
  });

  test("nobody listening is daemon_unavailable and names the socket", async () => {
    const transport = createTransport({ kind: "socket", socketPath: "/tmp/hv-nobody/s" });
    await expect(transport.json("GET", "/health")).rejects.toMatchObject({
      code: "daemon_unavailable",
      message: expect.stringContaining("/tmp/hv-nobody/s"),
    });
  });

  test("a daemon that never answers is given up at the deadline", async () => {
    await using server = await startWireServer({});
    const request = createTransport(server.endpoint).json("GET", "/health", { timeoutMs: 20 });
    await expect(request).rejects.toMatchObject({ code: "timeout" });
  });

  test("the caller's signal ends a request, and the daemon sees the connection close", async () => {
    const controller = new AbortController();
    const daemonSawClose = createDeferred<void>();
    await using server = await startWireServer({
      http: (request) => {
        request.socket.once("close", () => daemonSawClose.resolve());
        controller.abort();
      },
    });
    const request = createTransport(server.endpoint).json("GET", "/slow", { signal: controller.signal });
    await expect(request).rejects.toMatchObject({ code: "aborted" });
    await daemonSawClose.promise;
  });

  test("the refusal of an upload counts, not the broken pipe that follows it", async () => {
    await using server = await startWireServer({
      http: (request, answer) => {
        answerJson(answer, 404, problem);
        request.socket.end();
      },
    });
    const endless = Readable.from(
      (function* () {
        for (;;) yield Buffer.alloc(65_536);
      })(),
      { objectMode: false },
    );
    const upload = createTransport(server.endpoint).json("PUT", "/files", { body: endless });
    await expect(upload).rejects.toMatchObject({ code: "sandbox_not_found" });
    expect(endless.destroyed).toBe(true);
  });

  test("the failure of the caller's own stream is told as it is", async () => {
    await using server = await startWireServer({ http: (request) => void request.resume() });
    const failing = new Readable({ read: () => failing.destroy(new Error("the disk is on fire")) });
    const upload = createTransport(server.endpoint).json("PUT", "/files", { body: failing });
    await expect(upload).rejects.toThrow("the disk is on fire");
  });
});

describe("answers with progress", () => {
  const step = { type: "step", id: "disk", title: "Preparing", state: "started", elapsed_ms: 5 };

  test("steps and warnings are told as they come, and the last line is the result", async () => {
    await using server = await startWireServer({
      http: (_request, answer) => {
        const whole = lines(step, { type: "warning", message: "slow" }, { type: "image", name: "debian:12" });
        // Cut in the middle of a line.
        answer.write(whole.slice(0, 30));
        answer.end(whole.slice(30));
      },
    });
    const steps: Step[] = [];
    const warnings: string[] = [];
    const result = await requestWithProgress<{ type: "image"; name: string }>(
      createTransport(server.endpoint),
      "/images/pull",
      {},
      { onStep: (one) => steps.push(one), onWarning: (message) => warnings.push(message) },
    );
    expect(result).toEqual({ name: "debian:12" });
    expect(steps).toMatchObject([{ id: "disk", title: "Preparing", state: "started", elapsedMs: 5 }]);
    expect(warnings).toEqual(["slow"]);
  });

  test("an error line is thrown as the daemon's error", async () => {
    await using server = await startWireServer({
      http: (_request, answer) => answer.end(lines(step, { ...problem, type: "error" })),
    });
    const request = requestWithProgress(createTransport(server.endpoint), "/sandboxes", {});
    await expect(request).rejects.toBeInstanceOf(NotFoundError);
  });

  test("a connection that breaks off in the middle is a lost daemon, with what to do", async () => {
    await using server = await startWireServer({
      http: (_request, answer) => answer.write(lines(step), () => answer.destroy()),
    });
    const request = requestWithProgress(createTransport(server.endpoint), "/images/pull", {});
    const error = await request.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DaemonLostError);
    expect(error).toMatchObject({
      code: "daemon_unavailable",
      message: expect.stringContaining("the next pull goes on"),
    });
  });

  test("an end without a result is an error", async () => {
    await using server = await startWireServer({ http: (_request, answer) => answer.end(lines(step)) });
    const request = requestWithProgress(createTransport(server.endpoint), "/sandboxes", {});
    const error = await request.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(HeyvmError);
    expect(error).toMatchObject({ code: "daemon_unavailable" });
  });
});
