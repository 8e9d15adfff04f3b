import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { crashMachine } from "../sandbox/testing/machine-processes.ts";
import { dubiousImage, dubiousWarning } from "../daemon/testing/test-images.ts";
import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";

const pool = { HEYVM_POOL_SIZE: "1" };

async function testFolder(): Promise<string> {
  const state = await createTestState();
  onTestFinished(async () => await state[Symbol.asyncDispose]());
  return state.folder;
}

async function start(folder: string, env: NodeJS.ProcessEnv = pool): Promise<TestDaemon> {
  const daemon = await startTestDaemon(folder, env);
  onTestFinished(async () => await daemon[Symbol.asyncDispose]());
  return daemon;
}

const machinesOf = async ({ folder }: TestDaemon): Promise<string[]> =>
  await readdir(join(folder, "machines")).catch(() => []);

/** The id of the machine that waits, when it does. */
async function waiting(api: TestDaemon): Promise<string> {
  const ready = async (): Promise<unknown> => (await api.call("GET", "/backends")).json[0].pool;
  await expect.poll(ready).toEqual({ ready: 1, size: 1 });
  const known = new Set(
    (await api.call("GET", "/sandboxes?all=true")).json.map(({ id }: { id: string }) => id),
  );
  const [id] = (await machinesOf(api)).filter((machine) => !known.has(machine));
  if (id === undefined) throw new Error("no machine waits");
  return id;
}

const run = async (api: TestDaemon, box: string, command: string): Promise<string> =>
  (await api.call("POST", `/sandboxes/${box}/execute`, { command })).json.stdout;

test("a machine that waits is nobody's, and becomes the next sandbox with all that was asked for", async () => {
  const api = await start(await testFolder());
  const id = await waiting(api);
  expect((await api.call("GET", "/sandboxes?all=true")).json).toEqual([]);
  expect((await api.call("GET", `/sandboxes/${id}`)).status).toBe(404);
  expect((await api.call("DELETE", `/sandboxes/${id}`)).status).toBe(404);

  const created = await api.call("POST", "/sandboxes", {
    name: "Quick Box",
    description: "at once",
    env_vars: { GREETING: "hello" },
    labels: { team: "a" },
    ttl_seconds: 3600,
    working_directory: "/srv/work",
    setup_hooks: ["echo hooked > note"],
    start_command: "echo $GREETING > started",
  });
  expect(created.json).toMatchObject({
    id,
    name: "Quick Box",
    slug: "quick-box",
    description: "at once",
    status: "running",
    labels: { team: "a" },
    ttl_seconds: 3600,
    warnings: ["this is a test backend"],
  });
  expect(Date.parse(created.json.expires_at) - Date.parse(created.json.created_at)).toBeGreaterThan(
    3_500_000,
  );
  expect(await run(api, "quick-box", "pwd; cat note; echo $GREETING")).toBe("/srv/work\nhooked\nhello\n");
  await expect.poll(async () => await run(api, id, "cat started")).toBe("hello\n");

  expect(await waiting(api), "another is made behind").not.toBe(id);
  expect((await api.call("DELETE", `/sandboxes/${id}`)).json).toEqual({
    id,
    name: expect.any(String),
    removed: true,
  });
});

test("a create of another shape or with a mount is made for itself", async () => {
  const folder = await testFolder();
  const api = await start(folder);
  const id = await waiting(api);
  const others = [{ memory: 2 ** 29 }, { sandbox_type: "python" }, { cpus: 2 }, { needs_network: true }];
  for (const other of others) {
    const { json } = await api.call("POST", "/sandboxes", other);
    expect({ other, status: json.status }).toEqual({ other, status: "running" });
    expect(json.id).not.toBe(id);
  }
  const mounts = [{ host_path: "/usr/share", sandbox_path: "/mnt/share", read_only: true }];
  expect((await api.call("POST", "/sandboxes", { mounts })).json.id).not.toBe(id);
  expect((await api.call("POST", "/sandboxes", {})).json.id).toBe(id);
});

test("a create that wants no clone is made for itself, says so once, and is a sandbox as any other", async () => {
  const api = await start(await testFolder());
  const id = await waiting(api);
  const { json: made } = await api.call("POST", "/sandboxes", { name: "booted", clone: false });
  expect(made).toMatchObject({
    status: "running",
    start_mode: "booted",
    start_reason: expect.stringContaining("--no-clone"),
  });
  expect(made.id).not.toBe(id);
  const { json: claimed } = await api.call("POST", "/sandboxes", { clone: true });
  expect(claimed).toMatchObject({ id, start_mode: "booted" });
  expect(claimed).not.toHaveProperty("start_reason");
  const { json: again } = await api.call("POST", "/sandboxes/booted/restart");
  expect(again).toMatchObject({ status: "running", start_mode: "booted" });
  expect(again).not.toHaveProperty("start_reason");
});

test("a name that is taken is refused, and the machine waits on", async () => {
  const api = await start(await testFolder());
  await api.call("POST", "/sandboxes", { name: "box", cpus: 2 });
  const id = await waiting(api);
  const refused = await api.call("POST", "/sandboxes", { name: "box" });
  expect(refused).toMatchObject({ status: 409, json: { code: "name_taken" } });
  expect((await api.call("POST", "/sandboxes", { name: "other" })).json.id).toBe(id);
});

test("a create whose hook fails takes its warm machine along", async () => {
  const api = await start(await testFolder());
  const id = await waiting(api);
  const failed = await api.call("POST", "/sandboxes", { setup_hooks: ["exit 7"] });
  expect(failed.json).toMatchObject({ code: "guest_failed" });
  await expect.poll(async () => await machinesOf(api)).not.toContain(id);
  expect((await api.call("GET", "/sandboxes?all=true")).json).toEqual([]);
});

test("one that died while it waited is replaced, and no create gets it", async () => {
  const api = await start(await testFolder());
  const id = await waiting(api);
  await crashMachine(join(api.folder, "machines"), id);
  const created = await api.call("POST", "/sandboxes", {});
  expect(created.json.status).toBe("running");
  expect(created.json.id).not.toBe(id);
  await expect.poll(async () => await machinesOf(api)).not.toContain(id);
});

test("they go with their daemon, and with one that was killed at the next start", async () => {
  const folder = await testFolder();
  const first = await start(folder);
  const id = await waiting(first);
  await first.kill("SIGKILL");
  expect(await machinesOf(first)).toEqual([id]);

  const second = await start(folder, {});
  expect((await second.call("GET", "/sandboxes?all=true")).json).toEqual([]);
  expect(await machinesOf(second)).toEqual([]);
  await second.kill("SIGTERM");

  const third = await start(folder);
  await waiting(third);
  const { json: kept } = await third.call("POST", "/sandboxes", { name: "kept" });
  await waiting(third);
  await third.kill("SIGTERM");
  expect(await third.exited).toBe(0);
  expect(await machinesOf(third)).toEqual([kept.id]);
  expect(await readdir(join(folder, "sandboxes"))).toEqual([kept.id]);
});

test("what is to be known of an image is told of a sandbox that is made for it, and of one that was waiting", async () => {
  const warnings = [dubiousWarning, "this is a test backend"];
  const api = await start(await testFolder(), { ...pool, HEYVM_POOL_IMAGE: dubiousImage });
  const id = await waiting(api);
  const waited = await api.call("POST", "/sandboxes", { image: dubiousImage });
  expect(waited.json).toMatchObject({ id, warnings });
  const made = await api.call("POST", "/sandboxes", { image: dubiousImage, cpus: 2 });
  expect(made.json).toMatchObject({ warnings: expect.arrayContaining(warnings) });
  const seen = await api.call("GET", `/sandboxes/${id}`);
  expect(seen.json).toMatchObject({ warnings });
});
