import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { findQemu, killQemu } from "./qemu-process.ts";
import { endStandIn, qemuArgs, startStandIn } from "../testing/process-stand-in.ts";

const signal = AbortSignal.timeout(60_000);
const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

let folder: string;
let pidFile: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "heyvm-qemu-"));
  pidFile = join(folder, "web.pid");
});

afterEach(() => rm(folder, { recursive: true }));

test("a machine's QEMU has ended when it was killed, also one that stands still", async () => {
  const qemu = await startStandIn(
    qemuArgs("web"),
    "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)",
  );
  await writeFile(pidFile, `${qemu.pid}`);
  qemu.kill("SIGSTOP");
  expect(await findQemu(pidFile, "web")).toBe(qemu.pid);
  expect(await killQemu(qemu.pid, signal)).toBe(true);
  expect(await killQemu(qemu.pid, signal), "which has ended already").toBe(true);
});

test("one that has ended, and is not reaped, has ended", async () => {
  const script = `import os, time
pid = os.fork()
if pid == 0: time.sleep(600)
with open(${JSON.stringify(pidFile)}, "w") as file: file.write(str(pid))`;
  // The child has its arguments, too.
  await startStandIn(qemuArgs("web"), script);
  const pid = await findQemu(pidFile, "web");
  expect(await killQemu(Number(pid), signal)).toBe(true);
  expect(await findQemu(pidFile, "web")).toBeUndefined();
});

test("whoever has the process id of a machine that has ended is not taken for it", async () => {
  const qemu = await startStandIn(qemuArgs("web"));
  await writeFile(pidFile, `${qemu.pid}`);
  await endStandIn(qemu);
  expect(await findQemu(pidFile, "web")).toBeUndefined();

  for (const args of [[], qemuArgs("web2"), ["-name", "guest=other", "guest=web"]]) {
    const other = await startStandIn(args);
    await writeFile(pidFile, `${other.pid}`);
    expect(await findQemu(pidFile, "web")).toBeUndefined();
  }
  for (const text of ["", "-1", "0", "x"]) {
    await writeFile(pidFile, text);
    expect(await findQemu(pidFile, "web")).toBeUndefined();
  }
  expect(await findQemu(undefined, "web")).toBeUndefined();
});

test.runIf(process.geteuid?.() === 0)("another user's is left to libvirt", async () => {
  const qemu = await startStandIn(qemuArgs("web"), "import os\nos.setuid(65_533)");
  await writeFile(pidFile, `${qemu.pid}`);
  await chmod(folder, 0o755);
  try {
    process.seteuid?.(65_534);
    expect(await findQemu(pidFile, "web")).toBe(qemu.pid);
    expect(await killQemu(qemu.pid, signal)).toBe(false);
  } finally {
    process.seteuid?.(0);
  }
  expect(isAlive(qemu.pid)).toBe(true);
});
