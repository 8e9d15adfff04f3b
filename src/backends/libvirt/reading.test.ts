import { expect, test } from "vitest";

import { parseCapabilities } from "./connection/capabilities.ts";
import { lastLines } from "./domain/console-log.ts";
import {
  machineOfDomain,
  machineOfVolume,
  machineNames,
  parseSharedName,
  sharedDiskName,
  uuidFor,
} from "./names.ts";
import { backingPath, fileXml, overlayXml, poolFolder, poolXml } from "./storage/storage-xml.ts";

const capabilities = (secmodel: string) => `<capabilities>
  <host>${secmodel}</host>
  <guest><os_type>hvm</os_type><arch name="x86_64"><emulator>/usr/bin/qemu-system-x86_64</emulator><domain type="qemu"/><domain type="kvm"/></arch></guest>
  <guest><os_type>hvm</os_type><arch name="aarch64"><domain type="qemu"/></arch></guest>
</capabilities>`;

const dac = `<secmodel><model>apparmor</model></secmodel>
  <secmodel><model>dac</model><baselabel type="kvm">+64055:+64055</baselabel></secmodel>`;

test("a host's abilities are read from libvirt's capabilities", () => {
  expect(parseCapabilities(capabilities(dac), 7, 0)).toEqual({
    accelerators: { x86_64: ["kvm", "tcg"], aarch64: ["tcg"] },
    memoryBytes: 7,
    qemuAccount: { uid: 64055, gid: 64055 },
    confinement: "apparmor",
    emulators: { x86_64: "/usr/bin/qemu-system-x86_64" },
  });
});

test("QEMU's user is nobody else where libvirt labels nothing, or labels with our own user", () => {
  const bare = parseCapabilities(capabilities(""), 7, 1000);
  expect([bare.qemuAccount, bare.confinement]).toEqual([undefined, undefined]);
  expect(parseCapabilities(capabilities(dac), 7, 64055).qemuAccount).toBeUndefined();
});

test("storage XML escapes what it is given and reads back", () => {
  const path = `/a&b/<c>"d"`;
  expect(poolFolder(poolXml(path))).toBe(path);
  expect(backingPath(overlayXml("x.qcow2", { path, format: "raw" }, 1))).toBe(path);
  expect(backingPath(fileXml("x", 1))).toBeUndefined();
});

test("names tell whose a volume or a domain is, and leave strangers alone", () => {
  const names = machineNames("sb-0123abcd");
  for (const volume of [names.disk, names.seed, names.consoleLog, `${names.consoleLog}.0`]) {
    expect(machineOfVolume(volume)).toBe("sb-0123abcd");
  }
  expect(machineOfDomain(names.domain)).toBe("sb-0123abcd");
  for (const volume of [
    "sb-0123abcd.qcow2.bak",
    "my-sb-0123abcd.qcow2",
    "sb-0123ABCD.qcow2",
    "debian.qcow2",
  ]) {
    expect(machineOfVolume(volume)).toBeUndefined();
    expect(parseSharedName(volume)).toBeUndefined();
  }
  const disk = sharedDiskName("image", "0123456789abcdef", "00000001", "raw");
  expect(parseSharedName(disk)).toEqual({ kind: "image", key: "0123456789abcdef", build: "00000001" });
  expect(uuidFor("a")).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("a console's last lines carry no terminal control, however the guest tries", () => {
  const log = Buffer.from(
    "one\r\n\u001b[2J\u001b]0;title\u0007two\r\n\n\u001b[31mthree\u001b[0m\u009b5m\r\n",
  );
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  expect(lastLines(log, 2)).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  expect(lastLines(log, 1)).toContain("three");
  expect(lastLines(Buffer.alloc(0), 5)).toBe("");
});
