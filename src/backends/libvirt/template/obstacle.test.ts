import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createMemoryHost } from "../testing/memory-host.ts";
import { CloningRefusedError, obstacleToCloning, rememberRefusal } from "./obstacle.ts";

const { signal } = new AbortController();
const session = { confinement: undefined, qemuAccount: undefined };

let folder: string;
let refusalPath: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "heyvm-obstacle-"));
  refusalPath = join(folder, "cloning.json");
});
afterEach(() => rm(folder, { recursive: true }));

const reason = (change: object, architecture: "x86_64" | "aarch64" = "x86_64") =>
  obstacleToCloning(
    { ...createMemoryHost({ ...session, ...change }), ...change },
    architecture,
    refusalPath,
    signal,
  );

test("machines are cloned where QEMU is this user's own and nothing confines it", async () => {
  expect(await obstacleToCloning(createMemoryHost(session), "x86_64", refusalPath, signal)).toBeUndefined();
});

test("elsewhere there is a reason why not", async () => {
  expect(await reason({ confinement: "selinux" })).toContain("selinux");
  expect(await reason({ qemuAccount: { uid: 64055, gid: 64055 } })).toContain("64055");
  expect(await reason({ isLocal: false, uri: "qemu+ssh://h/system" })).toContain("qemu+ssh://h/system");
  expect(await reason({}, "aarch64")).toContain("aarch64");
});

test("a QEMU that refused what cloning needs is not tried again, until it is another build", async () => {
  const emulator = join(folder, "qemu");
  await writeFile(emulator, "one");
  const change = { ...session, emulators: { x86_64: emulator } };
  const refused = new CloningRefusedError(new Error("Invalid parameter 'x-ignore-shared'"));
  await rememberRefusal(createMemoryHost(change), "x86_64", refusalPath, refused, signal);
  expect(await reason(change)).toContain("x-ignore-shared");
  await writeFile(emulator, "another");
  expect(await reason(change)).toBeUndefined();
});
