import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { Health, Sandbox } from "../api/schema.ts";
import { packageVersion } from "../config/version.ts";
import { connectDaemon } from "./daemon.ts";
import { answerJson, startWireServer } from "./testing/wire-server.ts";
import { createTransport } from "./transport.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hv-"));
  vi.stubEnv("MVM_DATA_DIR", folder);
  vi.stubEnv("HEYVM_SOCKET", "");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  // Rivals that lost may come late.
  await rm(folder, { recursive: true, force: true, maxRetries: 10 });
});

/** Listens when a rival has come; whoever comes second leaves, as `serve --idle` does. Notes each start in `starts`. */
const stub = `
  const { createServer } = require("node:http");
  const { appendFileSync, mkdirSync, readFileSync } = require("node:fs");
  appendFileSync(process.env.MVM_DATA_DIR + "/starts", "x");
  try { mkdirSync(process.env.MVM_DATA_DIR + "/lock"); } catch { process.exit(0); }
  const health = { status: "ok", version: ${JSON.stringify(packageVersion())}, pid: process.pid };
  const server = createServer((request, answer) => answer.end(JSON.stringify(health)));
  const waiting = setInterval(() => {
    if (readFileSync(process.env.MVM_DATA_DIR + "/starts").length < 2) return;
    server.listen(process.env.HEYVM_SOCKET);
    clearInterval(waiting);
  }, 20);
  setTimeout(() => process.exit(1), 60000).unref();
`;

async function stopDaemon(socketPath: string): Promise<void> {
  const transport = createTransport({ kind: "socket", socketPath });
  const { pid } = await transport.json<Health>("GET", "/health");
  transport.close();
  process.kill(pid, "SIGTERM");
}

describe("a daemon on demand", () => {
  test("several that need it at the same time all get the one that wins", async () => {
    const clients = Array.from({ length: 5 }, () => connectDaemon({ serve: ["-e", stub] }));
    const endpoints = await Promise.all(clients);
    const socketPath = join(folder, "heyvm.sock");
    try {
      expect(endpoints).toEqual(endpoints.map(() => ({ kind: "socket", socketPath })));
      expect((await readFile(join(folder, "starts"), "utf8")).length).toBeGreaterThan(1);
    } finally {
      await stopDaemon(socketPath);
    }
  });

  test("one that dies at its start is told with the end of its log", async () => {
    const connecting = connectDaemon({
      serve: ["-e", "console.error('the floor is lava'); process.exit(3)"],
    });
    await expect(connecting).rejects.toMatchObject({
      code: "daemon_unavailable",
      message: expect.stringMatching(/ended at its start \(exit code 3\)[^]*the floor is lava/),
      hint: expect.stringContaining(join(folder, "daemon.log")),
    });
  });

  test("one that says why it can't start is quoted with its code", async () => {
    const problem = {
      error: 'settings.json:1: there is no setting "x"',
      code: "settings_invalid",
      hint: "h",
    };
    const script = `console.error(${JSON.stringify(JSON.stringify(problem))}); process.exit(2)`;
    await expect(connectDaemon({ serve: ["-e", script] })).rejects.toMatchObject({
      code: "settings_invalid",
      message: problem.error,
      hint: "h",
    });
  });

  test("the caller's signal ends the waiting", async () => {
    const controller = new AbortController();
    const never = "setTimeout(() => {}, 1000)";
    const connecting = connectDaemon({ serve: ["-e", never], signal: controller.signal });
    setImmediate(() => controller.abort());
    await expect(connecting).rejects.toMatchObject({ code: "aborted" });
  });

  test("without autostart nothing is started", async () => {
    await expect(connectDaemon({ autostart: false })).rejects.toMatchObject({
      code: "daemon_unavailable",
      hint: "start it with: heyvm serve",
    });
  });
});

const connectQuietly = async (): Promise<unknown> => await connectDaemon({ autostart: false });

describe("where the daemon is said to be", () => {
  test("a path below which other users may write is not trusted", async () => {
    await using server = await startWireServer({
      http: (_request, answer) => answerJson(answer, 200, { version: packageVersion() }),
    });
    const { socketPath } = server.endpoint;
    await writeFile(join(folder, "daemon.json"), JSON.stringify({ socket_path: socketPath }));
    expect(await connectQuietly()).toEqual(server.endpoint);
    await chmod(dirname(socketPath), 0o777);
    await expect(connectQuietly()).rejects.toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining(socketPath),
      hint: expect.stringContaining(`HEYVM_SOCKET=${socketPath}`),
    });
    vi.stubEnv("HEYVM_SOCKET", socketPath);
    expect(await connectQuietly()).toEqual(server.endpoint);
  });

  test("the runtime folder is not trusted when it is a link, or open to others", async () => {
    const runtime = join(folder, "run");
    const deep = join(folder, "deep".repeat(20), "deep".repeat(20));
    await mkdir(runtime);
    vi.stubEnv("XDG_RUNTIME_DIR", runtime);
    vi.stubEnv("MVM_DATA_DIR", deep);
    await expect(connectQuietly()).rejects.toMatchObject({
      code: "daemon_unavailable",
      message: expect.stringMatching(/\/run\/heyvm\/[0-9a-f]{16}\.sock/),
    });
    await symlink(folder, join(runtime, "heyvm"));
    await expect(connectQuietly()).rejects.toMatchObject({ code: "permission_denied" });
    await rm(join(runtime, "heyvm"));
    await mkdir(join(runtime, "heyvm"));
    await chmod(join(runtime, "heyvm"), 0o755);
    await expect(connectQuietly()).rejects.toMatchObject({ code: "permission_denied" });
  });
});

describe("a daemon of another version", () => {
  test("that is busy is told of and left alone", async () => {
    const running: Partial<Sandbox> = { status: "running" };
    await using server = await startWireServer({
      http: (request, answer) =>
        answerJson(answer, 200, request.url === "/health" ? { version: "0.0.1", pid: 4_000_000 } : [running]),
    });
    const notices: string[] = [];
    const endpoint = await connectDaemon({
      socketPath: server.endpoint.socketPath,
      onNotice: (message) => notices.push(message),
    });
    expect(endpoint).toEqual(server.endpoint);
    expect(notices).toEqual([
      expect.stringMatching(/the running daemon is heyvm 0\.0\.1, this is .*kill 4000000/),
    ]);
  });
});
