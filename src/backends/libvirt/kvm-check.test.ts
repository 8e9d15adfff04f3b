import { execFile } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

import { checkKvm, hostArchitecture } from "./kvm-check.ts";
import { guestExitStatus, kvmGuestArguments, kvmGuestDisk } from "./kvm-guest.ts";
import { findProgram } from "./program.ts";

const { signal } = new AbortController();
const qemu = await findProgram("qemu-system-x86_64");

/** A host whose QEMU is a shell script. `starts` grows by a line for each guest. */
async function fakeHost(body: string) {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-kvm-test-"));
  const starts = join(folder, "starts");
  const emulator = join(folder, "qemu");
  const devicePath = join(folder, "kvm");
  await writeFile(devicePath, "");
  await writeFile(starts, "");
  await writeFile(
    emulator,
    `#!/bin/sh\nif [ "$1" = --version ]; then echo fake 1; exit; fi\necho >> ${starts}\n${body}\n`,
  );
  await chmod(emulator, 0o755);
  const options = { cachePath: join(folder, "state", "kvm.json"), devicePath, emulator };
  return {
    options,
    starts: async () => (await readFile(starts, "utf8").catch(() => "")).length,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  };
}

test.skipIf(qemu === undefined)("the tiny guest reaches its end in a machine that works", async () => {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-kvm-test-"));
  try {
    await writeFile(join(folder, "disk"), kvmGuestDisk());
    const run = promisify(execFile)("qemu-system-x86_64", kvmGuestArguments("tcg", join(folder, "disk")), {
      timeout: 80_000,
    });
    await expect(run).rejects.toMatchObject({ code: guestExitStatus });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.runIf(hostArchitecture() === "x86_64")("a guest that ran is believed, and not run again", async () => {
  await using host = await fakeHost(`exit ${guestExitStatus}`);
  expect((await checkKvm(host.options, signal)).usable).toBe(true);
  expect((await checkKvm(host.options, signal)).usable).toBe(true);
  expect(await host.starts()).toBe(1);
});

test.runIf(hostArchitecture() === "x86_64")("a guest that hangs is ended, and KVM is not used", async () => {
  await using host = await fakeHost("exec sleep 1000");
  const verdict = await checkKvm({ ...host.options, deadlineMs: 300 }, signal);
  expect(verdict).toMatchObject({ usable: false, problem: "guest" });
  expect(verdict.message).toContain("hung");
});

test("what QEMU says when it cannot start a guest is told", async () => {
  await using host = await fakeHost("echo 'failed to set MSR 0x10a' >&2; exit 134");
  const verdict = await checkKvm(host.options, signal);
  expect(verdict).toMatchObject({ usable: false, problem: "guest" });
  expect(verdict.message).toContain("failed to set MSR 0x10a");
});

test("a missing device is told without starting QEMU, and not remembered", async () => {
  await using host = await fakeHost("exit 1");
  const verdict = await checkKvm({ ...host.options, devicePath: "/nonexistent/kvm" }, signal);
  expect(verdict).toMatchObject({ usable: false, problem: "missing" });
  expect(await host.starts()).toBe(0);
});

test("a cancelled check leaves no guest behind", async () => {
  await using host = await fakeHost("exec sleep 1000");
  const abort = new AbortController();
  const ended = checkKvm(host.options, abort.signal).catch((error: unknown) => error);
  await expect.poll(host.starts).toBe(1);
  abort.abort();
  expect(await ended).toMatchObject({ code: "aborted" });
});
