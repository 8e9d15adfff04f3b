import { expect, test } from "vitest";

import { remedyHere } from "./remedies.ts";

const check = {
  id: "libvirt.qemu",
  backend: "libvirt",
  title: "QEMU",
  message: "missing",
  verdict: "failure",
  fixable: true,
  remedy: { any: "sudo apt-get update && sudo apt-get install -y qemu" },
} as const;

test("root's remedy goes without sudo", () => {
  expect(remedyHere(check, false)).toBe("sudo apt-get update && sudo apt-get install -y qemu");
  expect(remedyHere(check, true)).toBe("apt-get update && apt-get install -y qemu");
});

test("what is well has no remedy", () => {
  expect(remedyHere({ ...check, verdict: "ok" }, true)).toBeUndefined();
});

test.each([
  ["debian", "apt-get install qemu-system-x86"],
  ["fedora", "dnf install qemu-kvm"],
  ["arch", "pacman -S qemu-base"],
] as const)("a %s machine gets the command of its package manager", (family, command) => {
  const remedy = {
    debian: "apt-get install qemu-system-x86",
    fedora: "dnf install qemu-kvm",
    arch: "pacman -S qemu-base",
  };
  expect(remedyHere({ ...check, remedy }, false, family)).toBe(command);
});
