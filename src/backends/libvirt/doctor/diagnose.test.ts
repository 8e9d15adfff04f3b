import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

import { HeyvmError } from "../../../errors/index.ts";
import { createMemoryHost } from "../testing/memory-host.ts";
import { diagnoseHost } from "./diagnose.ts";

const { signal } = new AbortController();

async function diagnose(host = createMemoryHost(), folders: readonly string[] = [], { clones = true } = {}) {
  const state = await mkdtemp(join(tmpdir(), "heyvm-doctor-"));
  try {
    // Not to boot a guest under KVM here: that has its own tests.
    const paths = {
      kvmVerdictPath: join(state, "kvm.json"),
      cloning: clones ? { refusalPath: join(state, "cloning.json"), doubts: async () => [] } : undefined,
    };
    return await diagnoseHost({ ...host, isLocal: false }, paths, folders, signal);
  } finally {
    await rm(state, { recursive: true });
  }
}

test("every check has an id of its own, and whatever fails says how to mend it", async () => {
  const path = process.env["PATH"];
  process.env["PATH"] = "/nonexistent";
  try {
    const checks = await diagnose();
    expect(new Set(checks.map(({ id }) => id)).size).toBe(checks.length);
    const failed = checks.filter(({ verdict }) => verdict === "failure");
    expect(failed.map(({ id }) => id)).toContain("libvirt.qemu_img");
    for (const check of failed) {
      expect(Object.keys(check.remedy ?? {})).toEqual(
        check.remedy?.any === undefined ? ["debian", "fedora", "arch"] : ["any"],
      );
    }
  } finally {
    process.env["PATH"] = path;
  }
});

test("whether machines can be cloned is told to those who want clones", async () => {
  for (const clones of [true, false]) {
    const checks = await diagnose(createMemoryHost(), [], { clones });
    expect(checks.some(({ id }) => id === "libvirt.cloning")).toBe(clones);
  }
});

test("a libvirt that cannot be reached is a failure with its reason, and the other checks still run", async () => {
  const host = createMemoryHost();
  host.capabilities = () => Promise.reject(new HeyvmError("permission_denied", "no entry"));
  const checks = await diagnose(host);
  expect(checks[0]).toMatchObject({
    id: "libvirt.connection",
    verdict: "failure",
    message: "no entry",
    remedy: { any: expect.stringContaining("usermod") },
  });
  expect(checks.length).toBeGreaterThan(4);
});

test("a remote libvirt that cannot be reached is no reason to install anything here", async () => {
  const host = createMemoryHost();
  host.capabilities = () =>
    Promise.reject(new HeyvmError("backend_unavailable", "no route", { hint: "try ssh" }));
  const [connection] = await diagnose(host);
  expect(connection).toMatchObject({ verdict: "failure", message: "no route (try ssh)", fixable: false });
  expect(connection?.remedy).toBeUndefined();
});

test.skipIf(process.getuid?.() === 0)(
  "a folder for downloads that this user may not write or make is a failure with its remedy",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "heyvm-doctor-"));
    try {
      await chmod(folder, 0o500);
      for (const downloads of [folder, join(folder, "a'b", "images")]) {
        const checks = await diagnose(createMemoryHost(), ["/nonexistent/images", downloads]);
        expect(checks.filter(({ id }) => id.startsWith("libvirt.image_folder"))).toMatchObject([
          { verdict: "ok" },
          { verdict: "failure", remedy: { any: expect.stringContaining("$USER") }, fixable: false },
        ]);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);
