import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

import { createMemoryHost } from "../testing/memory-host.ts";
import { type MachineShape, templateKey } from "./template-key.ts";

const GiB = 1024 ** 3;

test("another build of QEMU, libvirt, prepared disk or machine is another template", async () => {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-key-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const emulator = join(folder, "qemu");
  await writeFile(emulator, "7.2");
  const usual: MachineShape = { architecture: "x86_64", accelerator: "tcg", vcpus: 1, memoryBytes: GiB };
  const key = async (
    shape: Partial<MachineShape> = {},
    disk = "prepared.qcow2",
    libvirtVersion = "9.0.0",
  ) => {
    const host = createMemoryHost({ emulators: { x86_64: emulator }, libvirtVersion });
    return await templateKey(host, disk, { ...usual, ...shape }, AbortSignal.timeout(10_000));
  };
  const first = await key();
  expect(first).toMatch(/^[0-9a-f]{16}$/);
  expect(await key()).toBe(first);

  const keys = [first, await key({ vcpus: 2 }), await key({ memoryBytes: 2 * GiB })];
  keys.push(await key({ accelerator: "kvm" }), await key({ room: { vcpus: 16, memoryBytes: 64 * GiB } }));
  keys.push(await key({}, "prepared-again.qcow2"), await key({}, "prepared.qcow2", "9.0.1"));
  // The same version, from another package.
  await utimes(emulator, 1, 1);
  keys.push(await key());
  await writeFile(emulator, "7.2.1");
  keys.push(await key());
  expect(new Set(keys).size).toBe(keys.length);
});
