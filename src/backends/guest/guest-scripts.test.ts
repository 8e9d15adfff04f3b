import { describe, expect, type TestContext, test } from "vitest";

import { installRuntimeScript, networkScript } from "./guest-scripts.ts";
import {
  findGuestShell,
  guestShells,
  type MadeUpGuest,
  runInMadeUpGuest,
  type ScriptRun,
} from "../libvirt/testing/made-up-guest.ts";

const route = {
  "/proc/net/route": "Iface\tDestination\tGateway\neth0\t0002000A\t00000000\neth0\t00000000\t0202000A\n",
};
const noRoute = { "/proc/net/route": "Iface\tDestination\tGateway\neth0\t0002000A\t00000000\n" };

/** What tells the distributions apart: a family's package manager and how it manages its network. */
const guests = {
  "Ubuntu's": {
    files: { "/etc/netplan/50-cloud-init.yaml": "network: {}\n" },
    programs: { "apt-get": "", netplan: "", systemctl: "" },
  },
  "Debian's with networkd": {
    files: { "/etc/systemd/network/.keep": "" },
    programs: { "apt-get": "", systemctl: "" },
  },
  "Debian's with ifupdown": {
    files: {
      "/etc/network/interfaces": "auto eth9\n",
      "/etc/network/interfaces.d/50-cloud-init": "auto eth9\n",
    },
    programs: { "apt-get": "" },
  },
  "Alpine's": {
    files: { "/etc/network/interfaces": "auto eth9\n", "/etc/alpine-release": "3.20.3\n" },
    programs: { apk: "" },
  },
  "Fedora's": {
    // NetworkManager: networkd's folder comes with systemd, and the service is disabled.
    files: { "/etc/systemd/network/.keep": "" },
    programs: { dnf: "", systemctl: "exit 1" },
  },
} satisfies Record<string, Omit<MadeUpGuest, "shell">>;

const apt = (command: string) => `apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 ${command}`;
const aptInstall = (packages: string) => [
  apt("update"),
  apt(`install -y --no-install-recommends ${packages}`),
  "apt-get clean",
];

const netplan = `network:
  version: 2
  ethernets:
    heyvm:
      match: {name: "e*"}
      dhcp4: true
      dhcp6: true
      dhcp-identifier: mac
      optional: true
`;
const networkd = `[Match]
Name=e*
[Link]
RequiredForOnline=no
[Network]
DHCP=yes
[DHCPv4]
ClientIdentifier=mac
`;
const alpineCard = "auto eth0\niface eth0 inet dhcp\n";
const hotplugged = `allow-hotplug /e*
mapping e*
  script /etc/network/heyvm-card
iface heyvm inet dhcp
`;
const interfaces = (cards: string) => `source-directory /etc/network/interfaces.d

auto lo
iface lo inet loopback

${cards}`;

describe.each(guestShells)("under %s", (name) => {
  const runIn = async (
    context: TestContext,
    guest: Omit<MadeUpGuest, "shell">,
    script: string,
  ): Promise<ScriptRun> => {
    const shell = await findGuestShell(name);
    if ("missing" in shell) return context.skip(shell.missing);
    return await runInMadeUpGuest({ ...guest, shell: shell.argv }, script);
  };

  test.for([
    ["Ubuntu's", aptInstall("python3 python3-pip python3-venv"), aptInstall("nodejs npm")],
    ["Alpine's", ["apk add --no-cache python3 py3-pip"], ["apk add --no-cache nodejs npm"]],
    [
      "Fedora's",
      ["dnf install -y python3 python3-pip", "dnf clean all"],
      ["dnf install -y nodejs npm", "dnf clean all"],
    ],
  ] as const)("%s package manager installs a type's runtime", async ([family, python, node], context) => {
    const { files, programs } = guests[family];
    const guest = { programs, files: { ...files, ...route } };
    const forPython = await runIn(context, guest, installRuntimeScript("python"));
    expect(forPython).toMatchObject({ code: 0, calls: python });
    const forNode = await runIn(context, guest, installRuntimeScript("node"));
    expect(forNode).toMatchObject({ code: 0, calls: node });
  });

  test("a package that cannot be installed fails the script, with the package manager's words", async (context) => {
    const programs = { apk: "echo no such package >&2; exit 3" };
    const done = await runIn(context, { programs, files: route }, installRuntimeScript("node"));
    expect(done).toMatchObject({ code: 3, errors: "no such package\n" });
  });

  test("a distribution with none of the package managers is told", async (context) => {
    const done = await runIn(context, { programs: {}, files: route }, installRuntimeScript("node"));
    expect(done.code).toBe(1);
    expect(done.errors).toContain("no package manager that heyvm knows");
  });

  test("nothing is installed before there is a default route", async (context) => {
    const programs = { apk: "", sleep: `cat /proc/net/later >> /proc/net/route` };
    const files = { ...noRoute, "/proc/net/later": route["/proc/net/route"] };
    const done = await runIn(context, { programs, files }, installRuntimeScript("node"));
    expect(done.calls).toEqual(["sleep 0.2", "apk add --no-cache nodejs npm"]);
  });

  test.for([
    ["Ubuntu's", { "/etc/netplan/60-heyvm.yaml": { text: netplan, mode: 0o600 } }],
    ["Debian's with networkd", { "/etc/systemd/network/20-heyvm.network": { text: networkd, mode: 0o644 } }],
    [
      "Debian's with ifupdown",
      {
        "/etc/network/interfaces": { text: interfaces(hotplugged), mode: 0o644 },
        "/etc/network/heyvm-card": { text: "#!/bin/sh\necho heyvm\n", mode: 0o755 },
      },
    ],
    ["Alpine's", { "/etc/network/interfaces": { text: interfaces(alpineCard), mode: 0o644 } }],
    ["Fedora's", {}],
  ] as const)(
    "%s network manager is told to bring any card up by DHCP",
    async ([family, written], context) => {
      const guest = guests[family];
      const { code, errors, files } = await runIn(context, guest, networkScript);
      expect({ code, errors }).toEqual({ code: 0, errors: "" });
      // What cloud-init wrote for the cards of the preparation is gone, and nothing else has changed.
      const kept = Object.keys(guest.files).filter((path) => !path.includes("50-cloud-init"));
      expect(Object.keys(files).toSorted()).toEqual(
        [...new Set([...kept, ...Object.keys(written)])].toSorted(),
      );
      expect(files).toMatchObject(written);
    },
  );
});
