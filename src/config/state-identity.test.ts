import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";

import { openStateIdentity } from "./state-identity.ts";

let root: string;
let state: string;
let file: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "heyvm-identity-"));
  state = join(root, "state");
  file = join(state, "identity.json");
});
afterEach(() => rm(root, { recursive: true }));

test("a state folder has one random id, in a file for its owner alone, whatever its host is called", async () => {
  const { id } = await openStateIdentity(state, "old-name");
  expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  expect((await openStateIdentity(state, "new-name")).id).toBe(id);
  expect(((await stat(file)).mode & 0o777).toString(8)).toBe("600");
  expect((await openStateIdentity(join(root, "other"), "old-name")).id).not.toBe(id);
});

test("processes that make it at the same time end with the same", async () => {
  const module = fileURLToPath(new URL("state-identity.ts", import.meta.url));
  const script = `const { openStateIdentity } = await import(${JSON.stringify(module)});
    const ids = await Promise.all([1, 2, 3].map(() => openStateIdentity(${JSON.stringify(state)}, "host")));
    console.log(ids.map(({ id }) => id).join("\\n"));`;
  const make = () =>
    promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script]);
  const ids = (await Promise.all([make(), make(), make()])).flatMap(({ stdout }) =>
    stdout.trim().split("\n"),
  );
  expect(ids.length).toBe(9);
  expect(new Set(ids).size).toBe(1);
});

test("a folder with sandboxes of an earlier version remembers how its machines were marked", async () => {
  await mkdir(join(state, "sandboxes", "sb-0000000a"), { recursive: true });
  const formerOwner = `old-name:${state}`;
  expect(await openStateIdentity(state, "old-name")).toMatchObject({ formerOwner });
  expect(await openStateIdentity(state, "new-name")).toMatchObject({ formerOwner });
  await mkdir(join(root, "new", "sandboxes"), { recursive: true });
  expect((await openStateIdentity(join(root, "new"), "host")).formerOwner).toBeUndefined();
});

test("a folder that was moved keeps its id, also to where its files have other numbers", async () => {
  await mkdir(join(state, "sandboxes", "sb-0000000a"), { recursive: true });
  const made = await openStateIdentity(state, "host");
  const moved = join(root, "moved");
  await rename(state, moved);
  expect(await openStateIdentity(moved, "host")).toEqual(made);
  const remade = join(root, "remade");
  await cp(moved, remade, { recursive: true });
  await rm(moved, { recursive: true });
  expect(await openStateIdentity(remade, "host")).toEqual(made);
});

test("a copy beside the original gets an id of its own, and the original keeps its", async () => {
  await mkdir(join(state, "sandboxes", "sb-0000000a"), { recursive: true });
  const made = await openStateIdentity(state, "host");
  const copy = join(root, "copy");
  await cp(state, copy, { recursive: true });
  const copied = await Promise.all([1, 2, 3].map(() => openStateIdentity(copy, "host")));
  expect(new Set(copied.map(({ id }) => id)).size).toBe(1);
  expect(copied[0]?.id).not.toBe(made.id);
  expect(copied[0]?.formerOwner).toBeUndefined();
  expect(await openStateIdentity(state, "host")).toEqual(made);
  expect(await openStateIdentity(copy, "host")).toEqual(copied[0]);
});

test("a folder of which it cannot be seen whether it was moved or copied keeps its id, and waits to be told", async () => {
  await mkdir(join(state, "sandboxes", "sb-0000000a"), { recursive: true });
  const made = await openStateIdentity(state, "host");
  const other = join(root, "other");
  await cp(state, other, { recursive: true });
  await writeFile(file, "{");
  const otherFile = join(other, "identity.json");
  await expect(openStateIdentity(other, "host")).rejects.toMatchObject({
    code: "permission_denied",
    message: expect.stringContaining(state),
    hint: expect.stringContaining(`rm ${otherFile}`),
  });
  const content = await readFile(otherFile, "utf8");
  expect(content).toContain(made.id);
  // As the hint says.
  await writeFile(otherFile, content.replace(state, other));
  expect(await openStateIdentity(other, "host")).toEqual(made);
});

test.each(["", "{", '{"id": "not one"}', '{"id": 1, "folder": "/"}'])(
  "one that cannot be understood (%j) is named and stays as it is",
  async (content) => {
    await mkdir(state);
    await writeFile(file, content);
    await expect(openStateIdentity(state, "host")).rejects.toMatchObject({
      code: "wrong_state",
      message: expect.stringContaining(file),
      hint: expect.stringContaining(`rm ${file}`),
      details: { path: file },
    });
    expect(await readFile(file, "utf8")).toBe(content);
  },
);

test("one that cannot be read is named", async () => {
  await mkdir(file, { recursive: true });
  await expect(openStateIdentity(state, "host")).rejects.toMatchObject({
    code: "permission_denied",
    message: expect.stringContaining(file),
    details: { path: file },
  });
});
