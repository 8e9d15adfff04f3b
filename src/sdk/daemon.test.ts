import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { Health, Sandbox } from "../api/schema.ts";
import { packageVersion } from "../config/version.ts";
import { connectDaemon } from "./daemon.ts";
import { describeEndpoint } from "./endpoint.ts";
import { answerJson, startWireServer } from "./testing/wire-server.ts";
import { createTransport } from "./transport.ts";

vi.mock("../config/version.ts", async (original) => ({
  ...(await original<object>()),
  buildId: () => "ours",
}));

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

/** Listens when a rival has come; whoever comes second leaves, as the daemon does. Notes each start in `starts`. */
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

  test("a path in a folder that is gone, as after a logout, is none", async () => {
    const told = join(folder, "gone", "x.sock");
    await writeFile(join(folder, "daemon.json"), JSON.stringify({ socket_path: told }));
    await expect(connectQuietly()).rejects.toMatchObject({
      code: "daemon_unavailable",
      message: expect.stringContaining(join(folder, "heyvm.sock")),
    });
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
    const notices = await meet({ version: "0.0.1" }, [running]);
    expect(notices).toEqual([
      expect.stringMatching(/the running daemon is heyvm 0\.0\.1, this is .*kill 4000000/),
    ]);
  });
});

describe("a daemon of the same version, but of another build", () => {
  const other = { version: packageVersion(), build: "other" };
  const told = [expect.stringMatching(/another build of heyvm .*\(other, this is ours\).*kill 4000000/)];

  test("that has sandboxes is told of and left alone", async () => {
    expect(await meet(other, [{ status: "running" }])).toEqual(told);
  });

  test("that has other work, or was started by hand, too", async () => {
    expect(await meet({ ...other, on_demand: true, active_requests: 1 }, [])).toEqual(told);
    expect(await meet({ ...other, on_demand: false, active_requests: 0 }, [])).toEqual(told);
  });

  test("of the same build is nothing to talk about, and neither is one that was never built", async () => {
    expect(await meet({ ...other, build: "ours" }, [])).toEqual([]);
    expect(await meet({ version: packageVersion() }, [])).toEqual([]);
  });

  test("that is idle is replaced, also when its files are gone", async () => {
    const installation = join(folder, "installation");
    const state = join(folder, "state");
    vi.stubEnv("MVM_DATA_DIR", state);
    vi.stubEnv("TEST_EXIT_WHEN_IDLE", "1");
    await copyInstallation(installation, "other");
    const child = spawn(process.execPath, serveFrom(installation), { stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(child, "exit");
    await once(child.stdout, "data");
    await rm(installation, { recursive: true });

    const notices: string[] = [];
    const endpoint = await connectDaemon({
      onNotice: (message) => notices.push(message),
      serve: serveFrom(root),
    });
    expect(notices).toEqual([expect.stringMatching(/another build.*it is idle and is replaced/)]);
    expect(await exited).toEqual([0, null]);
    const transport = createTransport(endpoint);
    const health = await transport.json<Health>("GET", "/health");
    expect(health).toMatchObject({ on_demand: true, active_requests: 0 });
    expect(health.pid).not.toBe(child.pid);
    transport.close();
    process.kill(health.pid, "SIGTERM");
    await expect.poll(() => existsSync(describeEndpoint(endpoint)), { timeout: 20_000 }).toBe(false);
  });
});

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What a client is told that meets a daemon with this health. */
async function meet(health: Partial<Health>, sandboxes: readonly Partial<Sandbox>[]): Promise<string[]> {
  await using server = await startWireServer({
    http: (request, answer) =>
      answerJson(answer, 200, request.url === "/health" ? { pid: 4_000_000, ...health } : sandboxes),
  });
  const notices: string[] = [];
  const endpoint = await connectDaemon({
    socketPath: server.endpoint.socketPath,
    onNotice: (message) => notices.push(message),
  });
  expect(endpoint).toEqual(server.endpoint);
  return notices;
}

/** The sources as they are, named as a build. */
async function copyInstallation(folder: string, build: string): Promise<void> {
  await mkdir(folder);
  for (const part of ["src", "guest", "package.json", "tsconfig.json"]) {
    await cp(join(root, part), join(folder, part), { recursive: true });
  }
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  await writeFile(join(folder, "src", "build-id"), `${build}\n`);
}

/** Node's arguments for a daemon with the tests' backend. */
function serveFrom(installation: string): string[] {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  return ["--import", tsx, join(installation, "src/daemon/testing/daemon-process.ts")];
}
