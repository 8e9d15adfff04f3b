import { expect, test } from "vitest";

import { packageFamily } from "./package-family.ts";

/** From the distributions' own `/etc/os-release`. */
test.each([
  [
    "Debian 12",
    'NAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\nHOME_URL="https://www.debian.org/"\n',
    "debian",
  ],
  ["Ubuntu 24.04", 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n', "debian"],
  ["Linux Mint", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n', "debian"],
  ["Fedora 41", 'NAME="Fedora Linux"\nID=fedora\nVARIANT_ID=server\n', "fedora"],
  ["Rocky Linux 9", 'ID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora"],
  ["RHEL 9", 'ID="rhel"\nID_LIKE="fedora"\n', "fedora"],
  ["Arch Linux", "ID=arch\nBUILD_ID=rolling\n", "arch"],
  ["Manjaro, in single quotes", "ID='manjaro'\nID_LIKE='arch'\n", "arch"],
  ["openSUSE", 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', undefined],
  ["a VERSION_ID before the ID", "VERSION_ID=debian\nID=alpine\n", undefined],
  ["an empty file", "", undefined],
])("%s", (_name, osRelease, family) => {
  expect(packageFamily(osRelease)).toBe(family);
});
