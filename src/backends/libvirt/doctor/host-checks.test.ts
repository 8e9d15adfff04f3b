import { describe, expect, test } from "vitest";

import { groupChecks, type HostUser, roomChecks } from "./host-checks.ts";

const user: HostUser = {
  isRoot: false,
  groupIds: [1000],
  groups: "root:x:0:\nkvm:x:104:\nlibvirt:x:118:someone\n",
  opensKvm: false,
  kvmNode: { groupId: 104, mode: 0o20660 },
};
const system = "qemu:///system";
const session = "qemu:///session";
const ok = { verdict: "ok", fixable: false };
const joinLibvirt = {
  verdict: "warning",
  fixable: true,
  remedy: { any: 'sudo usermod -aG libvirt "$USER"' },
};
const joinKvm = { verdict: "warning", fixable: true, remedy: { any: 'sudo usermod -aG kvm "$USER"' } };

describe("groups", () => {
  test.each([
    ["refused by the system's libvirt: libvirt", system, false, user, joinLibvirt, ok],
    ["let in by the system's libvirt: none", system, true, user, ok, ok],
    ["with a libvirt of its own and a closed /dev/kvm: kvm", session, true, user, ok, joinKvm],
    [
      "with a libvirt of its own and an open /dev/kvm: none",
      session,
      true,
      { ...user, opensKvm: true },
      ok,
      ok,
    ],
    [
      "with a libvirt of its own and a /dev/kvm that is root's: none",
      session,
      true,
      { ...user, kvmNode: { groupId: 0, mode: 0o20600 } },
      ok,
      ok,
    ],
    ["with a libvirt elsewhere: none", "qemu+ssh://host/system", false, user, ok, ok],
    ["that is in both: none", system, false, { ...user, groupIds: [118, 104] }, ok, ok],
    ["that is root: none", system, false, { ...user, isRoot: true }, ok, ok],
  ])("a user %s is what is missing", async (_who, uri, connects, who, libvirt, kvm) => {
    expect(await groupChecks(uri, connects, who)).toMatchObject([
      { id: "libvirt.group_libvirt", ...libvirt },
      { id: "libvirt.group_kvm", ...kvm },
    ]);
  });

  test("nobody is told to join a group that is not there", async () => {
    const checks = await groupChecks(system, false, { ...user, groups: "root:x:0:\n" });
    expect(checks[0]).toMatchObject({
      verdict: "warning",
      message: "there is no group libvirt here",
      fixable: false,
    });
    expect(checks[0]?.remedy).toBeUndefined();
  });
});

const gibibyte = 1024 ** 3;

describe("room", () => {
  test.each([
    [5, 1.5, "ok", "ok"],
    [4.9, 1.4, "warning", "warning"],
    [1, 0.5, "warning", "warning"],
    [0.9, 0.4, "failure", "failure"],
  ])("%s GiB of disk and %s GiB of memory are %s and %s", async (disk, memory, onDisk, inMemory) => {
    const room = { diskBytes: disk * gibibyte, memoryBytes: memory * gibibyte };
    expect(await roomChecks("/images", room)).toMatchObject([
      {
        id: "libvirt.disk",
        verdict: onDisk,
        message: `${disk.toFixed(1)} GiB free for /images`,
        fixable: false,
      },
      {
        id: "libvirt.memory",
        verdict: inMemory,
        message: `${memory.toFixed(1)} GiB available`,
        fixable: false,
      },
    ]);
  });

  test("this host's is found for a folder that is not there yet", async () => {
    const messages = (await roomChecks("/nonexistent/images")).map(({ message }) => message);
    expect(messages).toEqual([
      expect.stringMatching(/^\d+\.\d GiB free/),
      expect.stringMatching(/^\d+\.\d GiB available/),
    ]);
  });
});
