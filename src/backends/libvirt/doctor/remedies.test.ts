import { expect, test } from "vitest";

import { remedies } from "./remedies.ts";

const differing = Object.entries(remedies).flatMap(([what, remedy]) =>
  "any" in remedy ? [] : [{ what, remedy }],
);

test.each(differing)("$what has a command of every family's own tools", ({ remedy }) => {
  expect(remedy).toEqual({
    debian: expect.stringMatching(/^sudo (apt-get|systemctl) /),
    fedora: expect.stringMatching(/^sudo (dnf|systemctl) /),
    arch: expect.stringMatching(/^sudo (pacman|systemctl) /),
  });
});

test("the libvirt that is started is the one that the family's packages install", () => {
  expect(remedies.libvirt.fedora).toContain("libvirt-daemon-kvm");
  expect(remedies.libvirtStart).toEqual({
    debian: "sudo systemctl enable --now libvirtd.socket",
    fedora: "sudo systemctl enable --now virtqemud.socket virtstoraged.socket",
    arch: "sudo systemctl enable --now libvirtd.socket",
  });
});
