import { execFile } from "node:child_process";
import { once } from "node:events";
import { chown, mkdir, mkdtemp, readFile, realpath, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";

let folder: string;
let state: Awaited<ReturnType<typeof createTestState>>;
let api: TestDaemon;

beforeAll(async () => {
  state = await createTestState();
  api = await startTestDaemon(state.folder);
  folder = await realpath(await mkdtemp(join(tmpdir(), "hv-mounts-")));
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  for (const { id } of (await api.call("GET", "/sandboxes?all=true")).json) {
    await api.call("DELETE", `/sandboxes/${id}`);
  }
  await rm(folder, { recursive: true, force: true });
  for (const name of ["work/data", "other/data"]) await mkdir(join(folder, name), { recursive: true });
});

type Answer = Awaited<ReturnType<TestDaemon["call"]>>;

async function create(name: string, path: string, access: "ro" | "rw"): Promise<Answer> {
  const mount = { host_path: join(folder, path), sandbox_path: "/mnt", read_only: access === "ro" };
  return await api.call("POST", "/sandboxes", { name, mounts: [mount] });
}

async function run(command: string) {
  return (await api.call("POST", "/sandboxes/box/execute", { command })).json;
}

async function verb(name: string, verb: "start" | "stop" | "restart"): Promise<Answer> {
  const body = verb !== "start" ? { grace_seconds: 0 } : undefined;
  return await api.call("POST", `/sandboxes/${name}/${verb}`, body, { accept: "application/x-ndjson" });
}

test("git takes a mounted repository of the host's user as it is", async () => {
  const repository = join(folder, "work");
  const git = promisify(execFile);
  await git("git", ["init", "-q", repository]);
  await writeFile(join(repository, "data/file"), "");
  // For the guest it is nobody's.
  if (process.getuid?.() === 0) await chown(repository, 1000, 1000);
  await create("box", "work", "rw");
  expect(await run("git -C /mnt status --short")).toMatchObject({ exit_code: 0, output: "?? data/\n" });
  expect(await run("printf '[safe]\\n\\tdirectory = /x' > /etc/gitconfig")).toMatchObject({ exit_code: 0 });
  await verb("box", "restart");
  expect((await run("cat /etc/gitconfig")).output).toBe("[safe]\n\tdirectory = /x");
  const refused = process.getuid?.() === 0 ? 128 : 0;
  expect(await run("git -C /mnt status")).toMatchObject({ exit_code: refused });
  await run("printf '[user]\\n\\tname = x' > /etc/gitconfig");
  await verb("box", "restart");
  expect((await run("cat /etc/gitconfig")).output).toBe("[user]\n\tname = x\n[safe]\n\tdirectory = *\n");
});

test("a restart that could not start the sandbox again, as its folder is gone, leaves it running", async () => {
  await create("box", "work", "rw");
  await rename(join(folder, "work"), join(folder, "moved"));
  expect((await verb("box", "restart")).text).toContain(join(folder, "work"));
  expect(await run("ls /mnt")).toMatchObject({ exit_code: 0, output: "data\n" });
  await rename(join(folder, "moved"), join(folder, "work"));
  expect((await verb("box", "restart")).json).toMatchObject({ status: "running" });
});

test("of two creates at once, of which one's guest could replace the other's mount by a link, one wins", async () => {
  const answers = await Promise.all([create("above", "work", "rw"), create("below", "work/data", "rw")]);
  const [loser, ...others] = answers.filter(({ status }) => status !== 201);
  expect(others).toHaveLength(0);
  expect(loser).toMatchObject({
    status: 403,
    json: {
      code: "permission_denied",
      detail: expect.stringMatching(/put (links|a link in its place)$/),
    },
  });
  expect((await api.call("GET", "/sandboxes")).json).toHaveLength(1);
});

test("a folder that was renamed is still where its guest may put links", async () => {
  expect(await create("writer", "work", "rw")).toMatchObject({ status: 201 });
  await rename(join(folder, "work"), join(folder, "renamed"));
  expect(await create("reader", "renamed/data", "ro")).toMatchObject({
    status: 403,
    json: { detail: expect.stringContaining('where sandbox "writer" may put links') },
  });
});

test("a folder that a sandbox that is off once had is free", async () => {
  expect(await create("writer", "work", "rw")).toMatchObject({ status: 201 });
  await verb("writer", "stop");
  await rename(join(folder, "work"), join(folder, "renamed"));
  expect(await create("reader", "renamed/data", "ro")).toMatchObject({ status: 201 });
});

/** `reader` is off, and what it mounts lies in the folder of `writer`, which runs. */
async function laidBelow(): Promise<void> {
  expect(await create("reader", "work/data", "ro")).toMatchObject({ status: 201 });
  await verb("reader", "stop");
  expect(await create("writer", "other", "rw")).toMatchObject({ status: 201 });
  await rename(join(folder, "work"), join(folder, "other/work"));
  await symlink("other/work", join(folder, "work"));
}

test("a sandbox does not start while another one's guest may put links on the way to its mount", async () => {
  await laidBelow();
  expect((await verb("reader", "start")).json).toMatchObject({
    code: "permission_denied",
    detail: `cannot mount ${folder}/work/data: its way leads through ${folder}/other, where sandbox "writer" may put links`,
    hint: 'stop that sandbox first, or remove it: heyvm stop "writer"',
  });
  expect((await api.call("GET", "/sandboxes/reader")).json).toMatchObject({ status: "stopped" });

  await verb("writer", "stop");
  expect((await verb("reader", "start")).json).toMatchObject({ status: "running" });
  // Now it is the other one's turn; the folder of one that runs is open, whatever is put in its place.
  expect((await verb("writer", "start")).json).toMatchObject({ status: "running" });
  // And one that could not start again goes on.
  expect((await verb("reader", "restart")).json).toMatchObject({ code: "permission_denied" });
  expect((await api.call("GET", "/sandboxes/reader")).json).toMatchObject({ status: "running" });
});

test("a sandbox that is starting counts as one that runs", async () => {
  await laidBelow();
  await verb("writer", "stop");
  const starting = await api.open("POST", "/sandboxes/writer/start", undefined, {
    accept: "application/x-ndjson",
  });
  // It has begun.
  await once(starting, "readable");
  expect((await verb("reader", "start")).json).toMatchObject({ code: "permission_denied" });
  expect(await text(starting)).toContain('"status":"running"');
});

test("a sandbox whose record is damaged still has its folders while it runs", async () => {
  const { id } = (await create("writer", "work", "rw")).json;
  const { id: readerId } = (await create("reader", "other/data", "ro")).json;
  await verb("reader", "stop");
  await api.kill("SIGTERM");
  await writeFile(join(state.folder, "sandboxes", id, "record.json"), "{");
  const readerRecord = join(state.folder, "sandboxes", readerId, "record.json");
  const reader = await readFile(readerRecord, "utf8");
  await writeFile(readerRecord, reader.replace("other/data", "work/data"));
  api = await startTestDaemon(state.folder);
  const reason = `cannot mount ${folder}/work/data: its way leads through ${folder}/work, where sandbox "${id}" may put links`;
  expect(await create("below", "work/data", "ro")).toMatchObject({
    status: 403,
    json: {
      detail: reason,
      hint: `mount ${folder}/work itself, or remove that sandbox: heyvm rm "${id}"`,
    },
  });
  expect((await verb("reader", "start")).json).toMatchObject({
    detail: reason,
    hint: `remove that sandbox: heyvm rm "${id}"`,
  });
  expect(await create("elsewhere", "other/data", "rw")).toMatchObject({ status: 201 });
  await api.call("DELETE", `/sandboxes/${id}`);
  expect((await verb("reader", "start")).json).toMatchObject({ status: "running" });
});

test("a sandbox that is off, and whose record is damaged, keeps nobody from a folder", async () => {
  const { id } = (await create("writer", "work", "rw")).json;
  await verb("writer", "stop");
  await api.kill("SIGTERM");
  await writeFile(join(state.folder, "sandboxes", id, "record.json"), "{");
  api = await startTestDaemon(state.folder);
  expect(await create("below", "work/data", "ro")).toMatchObject({ status: 201 });
});

/** What it tells. */
async function restart(name: string): Promise<string> {
  await verb(name, "stop");
  return (await verb(name, "start")).text;
}

test("a folder that was made anew is told of", async () => {
  expect(await create("box", "work", "rw")).toMatchObject({ status: 201 });
  const warning = `${folder}/work is another folder than before: the sandbox sees the one that is there now`;
  expect(await restart("box")).not.toContain(warning);
  // The old one stays, or the new one could get its inode.
  await rename(join(folder, "work"), join(folder, "old"));
  await mkdir(join(folder, "work"));
  expect(await restart("box")).toContain(warning);
  const { warnings } = (await api.call("GET", "/sandboxes/box")).json;
  expect(warnings).toContain(warning);
  // Out of the way for a while, it is the same when it is back.
  await verb("box", "stop");
  await rename(join(folder, "work"), join(folder, "aside"));
  await symlink("/", join(folder, "work"));
  await verb("box", "start");
  await rm(join(folder, "work"));
  await rename(join(folder, "aside"), join(folder, "work"));
  await restart("box");
  expect((await api.call("GET", "/sandboxes/box")).json.warnings).toEqual(warnings);
});
