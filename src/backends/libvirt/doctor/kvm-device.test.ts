import { expect, test } from "vitest";

import { deviceRemedy } from "./kvm-device.ts";

const groups = "root:x:0:\nkvm:x:104:\nvirt:x:200:me\n";
const join = (name: string): string => `sudo usermod -aG ${name} "$USER"`;
const open = 'sudo chown root:kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo usermod -aG kvm "$USER"';

test.each([
  ["of a group that the user is not in", 104, 0o660, [1000], "for the group kvm", join("kvm")],
  ["of a group by another name", 200, 0o660, [1000], "for the group virt", join("virt")],
  ["root's alone", 0, 0o600, [1000, 104], "its group is root, and its mode 0600", open],
  ["for root's group", 0, 0o660, [1000], "its group is root, and its mode 0660", open],
  ["a group's, closed to it", 104, 0o600, [1000, 104], "its group is kvm, and its mode 0600", open],
  ["a group's that has no name", 36, 0o660, [1000], "its group is 36, and its mode 0660", open],
  [
    "of a group that the user is in",
    104,
    0o660,
    [1000, 104],
    "although this user is in its group",
    undefined,
  ],
])("a device %s: the remedy is for that", (_whose, groupId, mode, groupIds, why, remedy) => {
  const found = deviceRemedy({ groupId, mode: 0o20000 + mode }, { groupIds, groups });
  expect(found.why).toContain(why);
  expect(found.remedy?.any).toBe(remedy);
});

test("without a group kvm it is made first", () => {
  const found = deviceRemedy({ groupId: 0, mode: 0o20600 }, { groupIds: [1000], groups: "root:x:0:\n" });
  expect(found.remedy?.any).toMatch(/^sudo groupadd --system kvm; sudo chown root:kvm/);
});
