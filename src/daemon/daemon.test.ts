import { once } from "node:events";
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";

import { expect, test } from "vitest";

import { crashMachine } from "../sandbox/testing/machine-processes.ts";
import { awaySuffix } from "../sandbox/testing/process-backend.ts";
import { startDaemon, testFolder } from "./testing/daemon-of-test.ts";
import type { TestDaemon } from "./testing/test-daemon.ts";
import { openStream } from "../api/testing/web-socket-client.ts";

async function onlyId(api: TestDaemon): Promise<string> {
  const [sandbox] = (await api.call("GET", "/sandboxes?all=true")).json;
  return sandbox.id;
}

test("only the owner may use the socket, and daemon.json tells where it is", async () => {
  const folder = await testFolder();
  const api = await startDaemon(folder);
  expect((await stat(join(folder, "heyvm.sock"))).mode & 0o777).toBe(0o600);
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  expect(JSON.parse(await readFile(join(folder, "daemon.json"), "utf8"))).toEqual(api.info);
  expect(api.info).toMatchObject({ pid: api.pid, socket_path: join(folder, "heyvm.sock") });
  expect((await api.call("GET", "/health")).json).toMatchObject({ status: "ok", data_dir: folder });
});

test("a state folder whose path is too long for a socket has its daemon's in the runtime folder", async () => {
  const root = await testFolder();
  const runtime = join(root, "run");
  const folder = join(root, "deep".repeat(20), "deep".repeat(20));
  await mkdir(folder, { recursive: true });
  const env = { XDG_RUNTIME_DIR: runtime };
  const api = await startDaemon(folder, env);
  expect(api.socketPath).toMatch(/\/run\/heyvm\/[0-9a-f]{16}\.sock$/);
  expect((await api.call("GET", "/health")).json).toMatchObject({ data_dir: folder });
  const other = await startDaemon(`${folder}er`, env);
  expect(other.socketPath).not.toBe(api.socketPath);
  await other.kill("SIGTERM");
  await api.kill("SIGTERM");
  expect(await readdir(join(runtime, "heyvm"))).toEqual([]);

  await chmod(join(runtime, "heyvm"), 0o770);
  expect((await startDaemon(folder, env)).info).toEqual({ code: "permission_denied" });
});

test("a daemon that is asked to leave takes its socket and daemon.json along", async () => {
  const folder = await testFolder();
  const api = await startDaemon(folder);
  await api.kill("SIGTERM");
  expect(await api.exited).toBe(0);
  expect(await readdir(folder)).not.toEqual(expect.arrayContaining(["heyvm.sock"]));
  expect(await readdir(folder)).not.toEqual(expect.arrayContaining(["daemon.json"]));
});

test("of five daemons that start at once exactly one serves", async () => {
  const folder = await testFolder();
  const daemons = await Promise.all(Array.from({ length: 5 }, async () => await startDaemon(folder)));
  const winners = daemons.filter(({ info }) => "socket_path" in info);
  expect(winners).toHaveLength(1);
  const losers = daemons.filter(({ info }) => !("socket_path" in info));
  expect(losers.map(({ info }) => info["code"])).toEqual(Array(4).fill("wrong_state"));
  expect((await daemons[0]?.call("GET", "/health"))?.json.pid).toBe(winners[0]?.pid);
});

test("after a SIGKILL the next daemon adopts the machine, with what it was", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  await first.call("POST", "/sandboxes", { name: "survivor", ttl_seconds: 3600, env_vars: { A: "1" } });
  await first.call("POST", "/sandboxes/survivor/execute", { command: "echo kept > note" });
  const { json: before } = await first.call("GET", "/sandboxes/survivor");
  await first.kill("SIGKILL");

  const second = await startDaemon(folder);
  const { json: after } = await second.call("GET", "/sandboxes/survivor");
  const lasting = ["id", "name", "slug", "status", "created_at", "started_at", "expires_at", "env_vars"];
  for (const field of lasting) expect(after[field]).toEqual(before[field]);
  const ran = await second.call("POST", "/sandboxes/survivor/execute", { command: 'cat note; echo "$A"' });
  expect(ran.json.stdout).toBe("kept\n1\n");
});

test("a deadline that passes while no daemon runs is kept at the next start", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  await first.call("POST", "/sandboxes", { ttl_seconds: 1 });
  await first.kill("SIGKILL");
  const second = await startDaemon(folder);
  // The machine goes first, its record last.
  const sandboxes = async (): Promise<unknown> => (await second.call("GET", "/sandboxes?all=true")).json;
  await expect.poll(sandboxes).toEqual([]);
  expect(await readdir(join(folder, "machines"))).toEqual([]);
});

test("a create that a SIGKILL cut off is removed at the next start", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  first.call("POST", "/sandboxes", { name: "half", setup_hooks: ["sleep 600"] }).catch(() => {});
  const machines = async (): Promise<string[]> =>
    (await readdir(join(folder, "machines"), { recursive: true }).catch(() => [])).filter((path) =>
      path.endsWith("machine.json"),
    );
  await expect.poll(machines).toHaveLength(1);
  await first.kill("SIGKILL");
  const second = await startDaemon(folder);
  expect((await second.call("GET", "/sandboxes?all=true")).json).toEqual([]);
  expect(await readdir(join(folder, "machines"))).toEqual([]);
  expect(await readdir(join(folder, "sandboxes"))).toEqual([]);
});

test("a start that a SIGKILL cut off is taken back at the next start", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  const startCommand = "echo begun >> /root/begun";
  const { json: made } = await first.call("POST", "/sandboxes", { name: "box", start_command: startCommand });
  const begun = join(folder, "machines", made.id, "root/root/begun");
  const whatBegan = async (): Promise<string> => await readFile(begun, "utf8").catch(() => "");
  await expect.poll(whatBegan).toBe("begun\n");
  await first.call("POST", "/sandboxes/box/kill");
  await writeFile(join(folder, "hold-guests"), "");
  first.call("POST", "/sandboxes/box/start").catch(() => {});
  const machine = join(folder, "machines", made.id, "machine.json");
  await expect.poll(async () => await readFile(machine, "utf8").catch(() => "")).not.toBe("");
  await first.kill("SIGKILL");
  await rm(join(folder, "hold-guests"));

  const second = await startDaemon(folder);
  expect((await second.call("GET", "/sandboxes/box")).json).toMatchObject({ status: "stopped" });
  await expect(stat(machine)).rejects.toThrow("ENOENT");
  expect((await second.call("POST", "/sandboxes/box/start")).json).toMatchObject({ status: "running" });
  await expect.poll(whatBegan).toBe("begun\nbegun\n");
});

test("a sandbox whose record was not yet written when its daemon died has never been", async () => {
  const folder = await testFolder();
  await mkdir(join(folder, "sandboxes/sb-0000000a.new"), { recursive: true });
  const api = await startDaemon(folder);
  expect((await api.call("GET", "/sandboxes?all=true")).json).toEqual([]);
  expect(await readdir(join(folder, "sandboxes"))).toEqual([]);
});

test("a machine that no record knows is removed at the start", async () => {
  const folder = await testFolder();
  await mkdir(join(folder, "machines", "sb-00000000"), { recursive: true });
  await startDaemon(folder);
  expect(await readdir(join(folder, "machines"))).toEqual([]);
});

test("a machine that went away while no daemon ran is shown as what it is", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  await first.call("POST", "/sandboxes", { name: "box" });
  const id = await onlyId(first);
  await first.kill("SIGKILL");
  await crashMachine(join(folder, "machines"), id);
  const second = await startDaemon(folder);
  expect((await second.call("GET", "/sandboxes/box")).json).toMatchObject({ status: "stopped" });
  expect((await second.call("POST", "/sandboxes/box/start")).json).toMatchObject({ status: "running" });
});

test.each<[what: string, use: (api: TestDaemon) => Promise<unknown>]>([
  [
    "a request",
    async (api) => (await api.call("POST", "/sandboxes/box/execute", { command: "exit 5" })).json,
  ],
  [
    "a web socket",
    async (api) => {
      const init = { type: "init", command: "exit 5" };
      const stream = await openStream(api.socket("/sandboxes/box/exec"), init);
      return { exit_code: (await stream.message("exit")).code };
    },
  ],
])("a backend that was away when the daemon began is asked again by %s that needs it", async (_what, use) => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  await first.call("POST", "/sandboxes", { name: "box" });
  await first.kill("SIGTERM");
  const away = join(folder, `machines${awaySuffix}`);
  await writeFile(away, "");
  const second = await startDaemon(folder);
  expect((await second.call("GET", "/sandboxes?all=true")).json).toMatchObject([{ status: "unknown" }]);
  await rm(away);
  expect(await use(second)).toMatchObject({ exit_code: 5 });
});

test("a machine that ends by itself is seen as stopped", async () => {
  const folder = await testFolder();
  const api = await startDaemon(folder);
  await api.call("POST", "/sandboxes", { name: "box" });
  await crashMachine(join(folder, "machines"), await onlyId(api));
  await expect.poll(async () => (await api.call("GET", "/sandboxes/box")).json.status).toBe("stopped");
});

test("a sandbox with a damaged record is shown as failed, and can be removed", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  await first.call("POST", "/sandboxes", { name: "box" });
  const id = await onlyId(first);
  await first.kill("SIGTERM");
  await writeFile(join(folder, "sandboxes", id, "record.json"), "{");
  const second = await startDaemon(folder);
  const { json } = await second.call("GET", `/sandboxes/${id}`);
  expect(json).toMatchObject({ status: "failed", error_message: expect.stringContaining("cannot be read") });
  expect((await second.call("DELETE", `/sandboxes/${id}`)).status).toBe(200);
  expect(await readdir(join(folder, "machines"))).toEqual([]);
});

test("the socket of a dead daemon is replaced, one that answers is not", async () => {
  const folder = await testFolder();
  const first = await startDaemon(folder);
  await first.kill("SIGKILL");
  expect(await readdir(folder)).toContain("heyvm.sock");
  const second = await startDaemon(folder);
  expect((await second.call("GET", "/health")).status).toBe(200);
  await second.kill("SIGTERM");

  const foreign = createServer().listen(join(folder, "heyvm.sock"));
  await once(foreign, "listening");
  // It may be a daemon that locks otherwise, and this one's machine.
  await mkdir(join(folder, "machines", "sb-00000000"), { recursive: true });
  try {
    expect((await startDaemon(folder)).info).toEqual({ code: "daemon_unavailable" });
    expect(await readdir(join(folder, "machines"))).toEqual(["sb-00000000"]);
  } finally {
    foreign.close();
  }
});

test("a daemon that was started on demand leaves when idle, and stays for a deadline", async () => {
  const env = { TEST_EXIT_WHEN_IDLE: "1", HEYVM_DAEMON_IDLE_SECONDS: "1" };
  const idle = await startDaemon(await testFolder(), env);
  expect(await idle.exited).toBe(0);
  // Made by one that stays: the other could leave before it is asked.
  const folder = await testFolder();
  const maker = await startDaemon(folder);
  const { json } = await maker.call("POST", "/sandboxes", { ttl_seconds: 5 });
  await maker.kill("SIGTERM");
  const needed = await startDaemon(folder, env);
  expect(await needed.exited).toBe(0);
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(json.expires_at));
  expect(await readdir(join(folder, "machines"))).toEqual([]);
});

test("a settings file with an error stops the start", async () => {
  const folder = await testFolder();
  await writeFile(join(folder, "settings.json"), '{"cpus": 0}');
  expect((await startDaemon(folder)).info).toEqual({ code: "settings_invalid" });
});

test("over TCP the token is needed, and foreign hosts and origins are refused", async () => {
  const folder = await testFolder();
  const api = await startDaemon(folder, { TEST_TCP: "1", HEYVM_API_PORT: "0" });
  const token = (await readFile(join(folder, "token"), "utf8")).trim();
  expect((await stat(join(folder, "token"))).mode & 0o777).toBe(0o600);
  const base = String(api.info["url"]);
  const authorization = `Bearer ${token}`;
  const status = async (headers: Record<string, string>): Promise<number> =>
    (await fetch(`${base}/sandboxes`, { headers })).status;
  expect(await status({ authorization })).toBe(200);
  expect(await status({})).toBe(401);
  expect(await status({ authorization: "Bearer wrong" })).toBe(401);
  expect(await status({ authorization, origin: "http://evil.example" })).toBe(401);
  expect(await (await fetch(`${base}/health`)).json()).toEqual({ status: "ok" });
  const known = await fetch(`${base}/health`, { headers: { authorization } });
  expect(await known.json()).toMatchObject({ status: "ok", data_dir: folder, pid: api.pid });
  expect(await (await fetch(`${base}/sandboxes`)).text()).not.toContain(folder);
});

test("a route that does not exist and the OpenAPI document are answered as such", async () => {
  const api = await startDaemon(await testFolder());
  expect(await api.call("GET", "/nope")).toMatchObject({ status: 404, json: { code: "route_not_found" } });
  const { json } = await api.call("GET", "/openapi.json");
  expect(json.openapi).toBe("3.1.0");
  expect(Object.keys(json.paths)).toContain("/sandboxes/{id}/execute");
  expect((await api.call("GET", "/backends")).json).toMatchObject([
    { name: "libvirt", available: true, default: true },
    { name: "microsandbox", available: false, hint: "install msb" },
  ]);
  expect((await api.call("GET", "/doctor")).json).toMatchObject({ verdict: "warning" });
  expect((await api.call("GET", "/config")).json.settings).toContainEqual(
    expect.objectContaining({ key: "image", source: "default" }),
  );
  expect((await api.call("GET", "/images")).json).toMatchObject([{ name: "ubuntu:24.04", in_use: false }]);
});
