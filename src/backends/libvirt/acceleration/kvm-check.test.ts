import { spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, test, vi } from "vitest";

import { checkKvm, hostArchitecture } from "./kvm-check.ts";
import { guestExitStatus, kvmGuestArguments } from "./kvm-guest.ts";
import { doubtAfterMs, endLooks } from "./kvm-verdict.ts";
import { findProgram } from "../program.ts";

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

test.skipIf(qemu === undefined || hostArchitecture() !== "x86_64")(
  "the tiny guest reaches its end in a machine that works, and nothing of it is written to a disk",
  async () => {
    await using host = await fakeHost(
      `exec ${qemu} ${kvmGuestArguments("tcg").join(" ")} # and not "$@", which asks for KVM`,
    );
    vi.stubEnv("TMPDIR", "/nonexistent");
    try {
      const verdict = await checkKvm({ ...host.options, deadlineMs: 80_000 }, signal);
      expect(verdict).toMatchObject({ usable: true });
    } finally {
      vi.unstubAllEnvs();
    }
  },
);

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

/** A host where KVM did not work and does now. */
async function brokenHost() {
  const host = await fakeHost('echo broken >&2; exit "$(cat "$(dirname "$0")/status")"');
  const status = join(dirname(host.options.emulator), "status");
  await writeFile(status, "1");
  await checkKvm(host.options, signal);
  await writeFile(status, String(guestExitStatus));
  return {
    ...host,
    age: async (ms: number) => {
      const stored = JSON.parse(await readFile(host.options.cachePath, "utf8"));
      await writeFile(host.options.cachePath, JSON.stringify({ ...stored, at: stored.at - ms }));
    },
    check: async (waitAfterMs?: number) => (await checkKvm({ ...host.options, waitAfterMs }, signal)).usable,
  };
}

describe.runIf(hostArchitecture() === "x86_64")("a verdict that KVM does not work", () => {
  test("is believed for some minutes", async () => {
    await using host = await brokenHost();
    await host.age(doubtAfterMs / 2);
    expect(await host.check()).toBe(false);
    expect(await host.starts()).toBe(1);
  });

  test.each([doubtAfterMs, -2 * doubtAfterMs])(
    "is the answer after %i ms, too, but looked at again behind it",
    async (ms) => {
      await using host = await brokenHost();
      await host.age(ms);
      expect(await host.check()).toBe(false);
      await expect.poll(async () => await host.check()).toBe(true);
      expect(await host.starts()).toBe(2);
    },
  );

  test("and the look behind it ends, with its guest, when the process is about to leave", async () => {
    await using host = await brokenHost();
    await host.age(doubtAfterMs);
    await writeFile(
      host.options.emulator,
      (await readFile(host.options.emulator, "utf8")).replace("echo broken", "sleep 1000; echo broken"),
    );
    expect(await host.check()).toBe(false);
    await expect.poll(host.starts).toBe(2);
    await endLooks();
    expect(await host.check()).toBe(false);
    expect(await host.starts()).toBe(2);
  });

  test("is waited for anew by who is less patient", async () => {
    await using host = await brokenHost();
    await host.age(60_001);
    expect(await host.check(60_000)).toBe(true);
    expect(await host.starts()).toBe(2);
  });
});

test.runIf(hostArchitecture() === "x86_64")(
  "a guest that hangs ends also when who started it was killed",
  async () => {
    await using host = await fakeHost("echo $$ > $0.pid; exec sleep 1000");
    const module = JSON.stringify(new URL("kvm-check.ts", import.meta.url).href);
    const options = JSON.stringify({ ...host.options, deadlineMs: 1000 });
    const script = `import { checkKvm } from ${module}; await checkKvm(${options}, new AbortController().signal)`;
    const checker = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, TMPDIR: dirname(host.options.emulator) },
    });
    const guest = async () => Number(await readFile(`${host.options.emulator}.pid`, "utf8").catch(() => "0"));
    await expect.poll(guest, { timeout: 30_000 }).toBeGreaterThan(0);
    checker.kill("SIGKILL");
    const path = `/proc/${await guest()}/cmdline`;
    const isAlive = async () => (await readFile(path, "utf8").catch(() => "")).includes("sleep");
    await expect.poll(isAlive, { timeout: 30_000 }).toBe(false);
  },
);

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
