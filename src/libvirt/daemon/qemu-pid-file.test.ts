import { expect, it } from "vitest";

import { qemuPidFile } from "./qemu-pid-file.ts";

const env = { HOME: "/home/me", XDG_RUNTIME_DIR: "/run/user/7" };
const ofSystem = "/var/run/libvirt/qemu/web.pid";

it("lies below the sockets of the daemon that has the domain", () => {
  expect(qemuPidFile("qemu:///system", "web", env)).toBe(ofSystem);
  // Root's session is the system.
  const isRoot = process.geteuid?.() === 0;
  expect(qemuPidFile("qemu+unix:///session", "web", env)).toBe(
    isRoot ? ofSystem : "/run/user/7/libvirt/qemu/run/web.pid",
  );
  expect(qemuPidFile("qemu:///session", "web", { HOME: "/home/me" })).toBe(
    isRoot ? ofSystem : "/home/me/.cache/libvirt/qemu/run/web.pid",
  );
});

it("lies beside a socket that is named", () => {
  const socket = "?socket=/tmp/its%20own/libvirt-sock";
  expect(qemuPidFile(`qemu+unix:///session${socket}`, "web", env)).toBe("/tmp/its own/qemu/run/web.pid");
  expect(qemuPidFile(`qemu+unix:///system${socket}`, "web", env)).toBe("/tmp/its own/qemu/web.pid");
});

it("is nowhere here for another host's domain", () => {
  expect(qemuPidFile("qemu+ssh://me@host/system", "web", env)).toBeUndefined();
  expect(qemuPidFile("qemu+tcp://127.0.0.1/session", "web", env)).toBeUndefined();
});
