import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

import { findProgram } from "../program.ts";
import { namespaceCheck } from "./namespace-check.ts";

const { signal } = new AbortController();

interface FakeHost extends AsyncDisposable {
  bwrap: string;
  settingsFolder: string;
}

/** A bubblewrap that is refused, and a kernel with one setting. */
async function refusingHost(setting: string, value: string): Promise<FakeHost> {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-namespaces-"));
  const bwrap = join(folder, "bwrap");
  await writeFile(bwrap, "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n");
  await chmod(bwrap, 0o755);
  await mkdir(dirname(join(folder, setting)), { recursive: true });
  await writeFile(join(folder, setting), `${value}\n`);
  return {
    bwrap,
    settingsFolder: folder,
    [Symbol.asyncDispose]: async () => await rm(folder, { recursive: true }),
  };
}

test.skipIf((await findProgram("bwrap")) === undefined)(
  "a bubblewrap that works is seen to work",
  async () => {
    expect(await namespaceCheck({}, signal)).toMatchObject({
      verdict: "ok",
      message: expect.stringContaining("ran a program in namespaces"),
    });
  },
);

test("a missing bubblewrap is told apart, and can be installed", async () => {
  expect(await namespaceCheck({ bwrap: "/nonexistent/bwrap" }, signal)).toMatchObject({
    verdict: "warning",
    message: expect.stringContaining("not installed"),
    remedy: {
      debian: expect.stringContaining("bubblewrap"),
      fedora: expect.anything(),
      arch: expect.anything(),
    },
    fixable: true,
  });
});

test.each([
  ["kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_parser"],
  ["kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"],
  ["user/max_user_namespaces", "0", "user.max_user_namespaces=15000"],
])(
  "a refusal by %s = %s is named with bubblewrap's own words and what allows it",
  async (setting, value, command) => {
    await using host = await refusingHost(setting, value);
    const check = await namespaceCheck(host, signal);
    expect(check).toMatchObject({
      verdict: "warning",
      message: expect.stringMatching(/setting up uid map: Permission denied/),
      remedy: { any: expect.stringContaining(command) },
      fixable: false,
    });
    expect(check.message).toContain(`${setting.replace("/", ".")} is ${value}`);
  },
);

test("a refusal that no setting explains has no command that would not help", async () => {
  await using host = await refusingHost("kernel/apparmor_restrict_unprivileged_userns", "0");
  expect(await namespaceCheck(host, signal)).toMatchObject({
    verdict: "warning",
    message: expect.stringContaining("container"),
    remedy: undefined,
  });
});
