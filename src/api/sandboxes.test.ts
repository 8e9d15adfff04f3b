import { mkdir, readdir, rm } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";

import { afterAll, expect, onTestFinished, test } from "vitest";

import { findFreePort } from "../libvirt/testing/free-port.ts";
import { sandboxShape } from "../sandbox/shape.ts";
import { wireNameOf } from "../sandbox/wire-names.ts";
import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";

async function daemon(env: NodeJS.ProcessEnv = {}): Promise<TestDaemon> {
  const state = await createTestState();
  onTestFinished(async () => await state[Symbol.asyncDispose]());
  const started = await startTestDaemon(state.folder, env);
  onTestFinished(async () => await started[Symbol.asyncDispose]());
  return started;
}

async function leftovers({ folder }: TestDaemon): Promise<string[]> {
  const machines = await readdir(join(folder, "machines")).catch(() => []);
  return [...machines, ...(await readdir(join(folder, "sandboxes")))];
}

test("a sandbox goes through its whole life", async () => {
  const api = await daemon();
  const created = await api.call("POST", "/sandboxes", {
    name: "My Box",
    env_vars: { GREETING: "hello" },
    labels: { team: "a" },
    ttl_seconds: 3600,
  });
  expect(created.status).toBe(201);
  expect(created.json).toMatchObject({
    name: "My Box",
    slug: "my-box",
    status: "running",
    image: "ubuntu:24.04",
    cpus: 1,
    memory: 2 ** 30,
    warnings: ["this is a test backend"],
    ttl_seconds: 3600,
  });
  const { id } = created.json;

  const ran = await api.call("POST", `/sandboxes/my-box/execute`, { command: 'echo "$GREETING"; exit 3' });
  expect(ran.json).toMatchObject({ stdout: "hello\n", exit_code: 3, stdout_truncated: false });

  const shown = (await api.call("GET", `/sandboxes/${id.slice(0, 6)}?stats=true`)).json;
  expect(shown).toMatchObject({ id, memory_usage: expect.any(Number) });
  // A guest that hangs holds up nobody who has not asked for what it alone can tell.
  expect((await api.call("GET", `/sandboxes/${id}`)).json).toMatchObject({ id, memory_usage: null });
  expect((await api.call("GET", "/sandboxes")).json).toMatchObject([{ id, memory_usage: null }]);
  expect((await api.call("GET", "/sandboxes?label=team=a")).json).toHaveLength(1);
  expect((await api.call("GET", "/sandboxes?label=team=b")).json).toHaveLength(0);
  expect((await api.call("GET", "/sandboxes?label=constructor")).json).toHaveLength(0);

  expect((await api.call("POST", `/sandboxes/${id}/pause`)).json).toMatchObject({ status: "paused" });
  const whilePaused = await api.call("POST", `/sandboxes/${id}/execute`, { command: "true" });
  expect(whilePaused).toMatchObject({
    status: 409,
    json: { code: "wrong_state", hint: `heyvm resume ${id}` },
  });
  expect((await api.call("POST", `/sandboxes/${id}/resume`)).json).toMatchObject({ status: "running" });

  const stopped = await api.call("POST", `/sandboxes/${id}/stop`, { grace_seconds: 0 });
  expect(stopped.json).toMatchObject({ status: "stopped", uptime_secs: null });
  expect((await api.call("GET", "/sandboxes")).json).toEqual([]);
  expect((await api.call("GET", "/sandboxes?all=true")).json).toHaveLength(1);
  expect((await api.call("GET", "/sandboxes/inactive")).json).toMatchObject({
    sandboxes: [{ id }],
    next_cursor: null,
  });
  expect((await api.call("POST", `/sandboxes/${id}/start`)).json).toMatchObject({ status: "running" });
  expect((await api.call("POST", `/sandboxes/${id}/kill`)).json).toMatchObject({ status: "stopped" });
  expect((await api.call("POST", `/sandboxes/${id}/restart`)).json).toMatchObject({ status: "running" });

  expect((await api.call("DELETE", `/sandboxes/${id}`)).json).toEqual({
    id,
    name: expect.any(String),
    removed: true,
  });
  expect((await api.call("GET", `/sandboxes/${id}`)).status).toBe(404);
  expect(await leftovers(api)).toEqual([]);
});

test("an answer has what the document says, and no more", async () => {
  const api = await daemon();
  const said = {
    description: "for trying\nthings",
    start_command: "sleep 600",
    env_vars: { A_B: "1" },
    labels: { someTeam: "2" },
    open_ports: [await findFreePort()],
  };
  const { status, json } = await api.call("POST", "/sandboxes", { ...said, setup_hooks: ["true"] });
  expect({ status, json }).toMatchObject({ status: 201, json: said });
  const known = Object.keys(sandboxShape.shape).map(wireNameOf);
  expect(Object.keys(json)).toEqual(known.filter((field) => field in json));
  expect(json).not.toHaveProperty("setup_hooks");
});

test("a guest in which its name cannot be written starts again, with a warning", async () => {
  const api = await daemon();
  const { id } = (await api.call("POST", "/sandboxes", { name: "box" })).json;
  await api.call("POST", `/sandboxes/${id}/kill`);
  const file = join(api.folder, "machines", id, "root/etc/hostname");
  await rm(file);
  await mkdir(file);
  const { text, json } = await api.call("POST", `/sandboxes/${id}/start`, undefined, {
    accept: "application/x-ndjson",
  });
  expect(json).toMatchObject({ type: "sandbox", status: "running" });
  expect(text).toMatch(/"warning".*its name and time again: writing \/etc\/hostname: Is a directory/u);
});

test("a create that is asked for as a stream tells its steps, its warnings, and at last the sandbox", async () => {
  const api = await daemon();
  const { text, json } = await api.call(
    "POST",
    "/sandboxes",
    { setup_hooks: ["touch hooked"], size_class: "micro" },
    { accept: "application/x-ndjson" },
  );
  const lines = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const done = lines.filter(({ type, state }) => type === "step" && state === "done").map(({ id }) => id);
  expect(done).toEqual(["image", "disk", "create", "agent", "guest", "hook-1"]);
  expect(lines.filter(({ type }) => type === "warning")).toHaveLength(2);
  expect(json).toMatchObject({ type: "sandbox", status: "running", cpus: 1, memory: 2 ** 29 });
});

test("a failing setup hook leaves nothing behind and tells what it said", async () => {
  const api = await daemon();
  const failed = await api.call("POST", "/sandboxes", { setup_hooks: ["echo broken >&2; exit 7"] });
  expect(failed).toMatchObject({ status: 502, json: { code: "guest_failed" } });
  expect(failed.json.error).toMatch(/ended with code 7:\nbroken/);
  const long = await api.call("POST", "/sandboxes", { setup_hooks: ["seq 100000; echo the end; exit 7"] });
  expect(long.json.error).toMatch(/ended with code 7:\n99997\n99998\n99999\n100000\nthe end$/);
  expect((await api.call("GET", "/sandboxes?all=true")).json).toEqual([]);
  expect(await leftovers(api)).toEqual([]);
});

test.each(["application/json", "application/x-ndjson"])(
  "a client that goes away during a create (%s) undoes it",
  async (accept) => {
    const api = await daemon();
    const call = request({
      socketPath: api.socketPath,
      method: "POST",
      path: "/sandboxes",
      headers: { accept },
    });
    call.on("error", () => {});
    call.end(JSON.stringify({ name: "leaver", setup_hooks: ["sleep 600"] }));
    await expect
      .poll(async () => (await api.call("GET", "/sandboxes?all=true")).json)
      .toMatchObject([{ name: "leaver", status: "provisioning" }]);
    await expect.poll(async () => await readdir(join(api.folder, "machines"))).toHaveLength(1);
    call.destroy();
    await expect.poll(async () => await leftovers(api)).toEqual([]);
    expect((await api.call("GET", "/sandboxes?all=true")).json).toEqual([]);
    expect((await api.call("POST", "/sandboxes", { name: "leaver" })).status).toBe(201);
  },
);

test("of twenty creates with the same name exactly one wins", async () => {
  const api = await daemon();
  const answers = await Promise.all(
    Array.from({ length: 20 }, async () => await api.call("POST", "/sandboxes", { name: "one" })),
  );
  expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
  const losers = answers.filter(({ status }) => status !== 201);
  expect(new Set(losers.map(({ json }) => json.code))).toEqual(new Set(["name_taken"]));
});

test("a sandbox whose time is up is removed", async () => {
  const api = await daemon();
  expect((await api.call("POST", "/sandboxes", { ttl_seconds: 1 })).status).toBe(201);
  await expect.poll(async () => await leftovers(api)).toEqual([]);
});

test.each([
  ["an empty name", { name: "" }, 400, "invalid_argument", "name"],
  ["a name with ../", { name: "../../etc" }, 400, "invalid_argument", "name"],
  ["a name with quotes", { name: `a"b'c` }, 400, "invalid_argument", "name"],
  ["a name with a newline", { name: "a\nb" }, 400, "invalid_argument", "name"],
  ["a name with XML", { name: "<xml>" }, 400, "invalid_argument", "name"],
  ["a slug that is no host name", { slug: "A_B" }, 400, "invalid_argument", "slug"],
  ["memory of 1 byte", { memory: 1 }, 400, "invalid_argument", "memory"],
  ["memory of -1", { memory: -1 }, 400, "invalid_argument", "memory"],
  ["memory of 10 TB", { memory: 10e12 }, 400, "invalid_argument", "memory"],
  ["memory as text", { memory: "2G" }, 400, "invalid_argument", "memory"],
  ["no CPU", { cpus: 0 }, 400, "invalid_argument", "cpus"],
  ["less than no CPU", { cpus: -0.5 }, 400, "invalid_argument", "cpus"],
  [
    "a missing mount",
    { mounts: [{ host_path: "/no/such", sandbox_path: "/data" }] },
    400,
    "invalid_argument",
    "mounts[0].host_path",
  ],
  [
    "a mount of /",
    { mounts: [{ host_path: "/", sandbox_path: "/data" }] },
    400,
    "invalid_argument",
    "mounts[0].host_path",
  ],
  ["an unknown backend", { backend_type: "libvrit" }, 400, "invalid_argument", "backend_type"],
  ["a misspelt field", { memroy: 5 }, 400, "invalid_argument", "memroy"],
  [
    "a misspelt field of a mount",
    { mounts: [{ host_path: "/srv", sandbox_path: "/data", readonly: true }] },
    400,
    "invalid_argument",
    "mounts[0].readonly",
  ],
  ["a variable that no shell reads", { env_vars: { "A-B": "1" } }, 400, "invalid_argument", "env_vars"],
  ["a port that does not exist", { open_ports: [70_000] }, 400, "invalid_argument", "open_ports[0]"],
  ["a relative working directory", { working_directory: "x" }, 400, "invalid_argument", "working_directory"],
  ["broken JSON", "{", 400, "invalid_argument", "body"],
  ["an array", [], 400, "invalid_argument", "body"],
  ["an unknown image", { image: "debian:99" }, 404, "image_not_found", undefined],
  ["a backend that cannot run here", { backend_type: "microsandbox" }, 503, "backend_unavailable", undefined],
] as const)("%s is refused, and nothing is left", async (_what, body, status, code, field) => {
  const api = await sharedDaemon();
  const answer = await api.call("POST", "/sandboxes", body);
  expect(answer).toMatchObject({
    status,
    json: { code, status, ...(field !== undefined && { details: { field } }) },
  });
  expect(answer.headers["content-type"]).toContain("application/problem+json");
  expect(answer.json.error).toBe(answer.json.detail);
  expect(answer.json.request_id).toBe(answer.headers["x-request-id"]);
  expect((await api.call("GET", "/sandboxes?all=true")).json).toEqual([]);
  expect(await leftovers(api)).toEqual([]);
});

test("what is refused comes with what mends it", async () => {
  const api = await sharedDaemon();
  const hintOf = async (body: object): Promise<string> =>
    (await api.call("POST", "/sandboxes", body)).json.hint;
  expect(await hintOf({ memroy: 5 })).toBe('did you mean "memory"?');
  expect(await hintOf({ backend_type: "libvrit" })).toBe("heyvm create --backend-type libvirt");
  expect(await hintOf({ backend_type: "microsandbox" })).toBe("install msb");
  expect(await hintOf({ mounts: [{ host_path: "/no/such", sandbox_path: "/d" }] })).toBe("mkdir -p /no/such");
});

let shared: Promise<TestDaemon> | undefined;

/** For requests that change nothing. */
async function sharedDaemon(): Promise<TestDaemon> {
  shared ??= createTestState().then(async ({ folder }) => await startTestDaemon(folder));
  return await shared;
}

afterAll(async () => {
  const api = await shared;
  await api?.[Symbol.asyncDispose]();
  if (api !== undefined) await rm(api.folder, { recursive: true });
});

test("a create whose sandbox is removed meanwhile ends as such", async () => {
  const api = await daemon();
  const created = api.call("POST", "/sandboxes", { name: "gone", setup_hooks: ["sleep 600"] });
  await expect.poll(async () => (await api.call("GET", "/sandboxes/gone")).json.status).toBe("provisioning");
  expect((await api.call("DELETE", "/sandboxes/gone")).status).toBe(200);
  expect((await created).json).toMatchObject({
    code: "wrong_state",
    detail: "sandbox gone is being removed",
  });
});
