import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { AbortedError } from "../../../errors/index.ts";
import { createMemoryLook, processMemory } from "./host-memory.ts";
import { endStandIn, qemuArgs, type StandIn, startStandIn } from "../testing/process-stand-in.ts";

const id = "sb-0000000a";
const itsArgs = qemuArgs(`heyvm-${id}`);
const MiB = 2 ** 20;
const signal = AbortSignal.timeout(60_000);

let folder: string;
let look: ReturnType<typeof createMemoryLook>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "heyvm-memory-"));
  look = createMemoryLook({ pidFile: (domain) => join(folder, `${domain}.pid`) });
});

afterEach(() => rm(folder, { recursive: true }));

const pidFile = () => join(folder, `heyvm-${id}.pid`);

/** Has QEMU's arguments, and its process id is where libvirt writes it. */
async function runQemu(script = ""): Promise<StandIn> {
  const qemu = await startStandIn(itsArgs, script);
  await writeFile(pidFile(), `${qemu.pid}`);
  return qemu;
}

test("what two machines have in common is in the share of both, and private to none", async () => {
  const path = join(folder, "template");
  await writeFile(path, Buffer.alloc(32 * MiB, "x"));
  const mapTemplate = `import mmap
with open(${JSON.stringify(path)}, "rb") as file: memory = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE)
sum(memory[at] for at in range(0, len(memory), 4096))`;
  await startStandIn(["-name", "guest=heyvm-sb-0000000b"], mapTemplate);
  await runQemu(`${mapTemplate}\nfor at in range(0, 8 << 20, 4096): memory[at] = 1`);

  const { privateBytes, proportionalBytes } = (await look(id, signal)) ?? {};
  // What Python takes by itself is below 24 MiB.
  expect(privateBytes).toBeGreaterThan(8 * MiB);
  expect(privateBytes).toBeLessThan(32 * MiB);
  expect(Number(proportionalBytes) - Number(privateBytes)).toBeGreaterThan(12 * MiB);
  expect(Number(proportionalBytes) - Number(privateBytes)).toBeLessThan(24 * MiB);
});

test("nothing is known of a machine that is off, or on another host", async () => {
  expect(await look(id, signal)).toBeUndefined();
  await runQemu();
  expect(await look("sb-0000000b", signal)).toBeUndefined();
  expect(await createMemoryLook({ pidFile: () => undefined })(id, signal)).toBeUndefined();
});

test("a file that has outlived its machine tells nothing, whoever has its process id by now", async () => {
  const qemu = await runQemu();
  expect(await look(id, signal)).toBeDefined();
  await endStandIn(qemu);
  expect(await look(id, signal)).toBeUndefined();

  for (const args of [
    [],
    ["-name", `guest=heyvm-${id}0`],
    ["-name", "guest=heyvm-sb-0000000b,debug-threads=on", `guest=heyvm-${id}`],
  ]) {
    const other = await startStandIn(args);
    await writeFile(pidFile(), `${other.pid}\n`);
    expect(await look(id, signal)).toBeUndefined();
  }
  for (const text of ["", "-1", "0", "x", "../self"]) {
    await writeFile(pidFile(), text);
    expect(await look(id, signal)).toBeUndefined();
  }
});

test("a machine that has ended, and is not reaped, takes nothing", async () => {
  const child = `import os, time
pid = os.fork()
if pid == 0: os._exit(0)
with open(${JSON.stringify(pidFile())}, "w") as file: file.write(str(pid))
while open(f"/proc/{pid}/stat").read().split()[2] != "Z": time.sleep(0.01)`;
  await startStandIn(itsArgs, child);
  expect(await look(id, signal)).toBeUndefined();
});

test("nothing is known of a machine that this user may not look at", async () => {
  // Its user may not either, only root: as with a QEMU that has changed its user.
  const qemu = await runQemu("import ctypes\nctypes.CDLL(None).prctl(4, 0)");
  const isRoot = process.geteuid?.() === 0;
  await chmod(folder, 0o755);
  try {
    if (isRoot) process.seteuid?.(65_534);
    expect(await processMemory(qemu.pid)).toBeUndefined();
    expect(await look(id, signal)).toBeUndefined();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});

test("nothing is known of a machine whose process id this user may not read", async () => {
  await runQemu();
  const isRoot = process.geteuid?.() === 0;
  await chmod(folder, 0o000);
  try {
    if (isRoot) process.seteuid?.(65_534);
    expect(await look(id, signal)).toBeUndefined();
  } finally {
    if (isRoot) process.seteuid?.(0);
    await chmod(folder, 0o700);
  }
});

test("a look that hangs holds up nobody for longer than they want, and is the only one", async () => {
  const qemu = await startStandIn(itsArgs, `import os\nos.mkfifo(${JSON.stringify(pidFile())})`);
  const givenUp = look(id, AbortSignal.timeout(10));
  const patient = look(id, signal);
  await expect(givenUp).rejects.toThrow(AbortedError);
  await expect(look(id, AbortSignal.abort())).rejects.toThrow(AbortedError);
  // Whoever reads first has all of it.
  await writeFile(pidFile(), `${qemu.pid}`);
  expect(await patient).toMatchObject({ privateBytes: expect.any(Number) });
});
