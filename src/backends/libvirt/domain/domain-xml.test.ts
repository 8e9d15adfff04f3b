import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

import { readMetadata, type SandboxMetadata } from "./domain-metadata.ts";
import { buildDomainXml, type DomainShape } from "./domain-xml.ts";

const metadata: SandboxMetadata = {
  kind: "sandbox",
  id: "sb-0123abcd",
  owner: "host:/home/ann/.heyo",
  spec: {
    id: "sb-0123abcd",
    name: "my-sandbox",
    type: "python",
    image: {
      reference: "debian:12",
      path: "/var/lib/libvirt/images/debian-12-generic-amd64.qcow2",
      format: "qcow2",
      virtualSizeBytes: 3 * 1024 ** 3,
      fingerprint: "sha256:00",
      architecture: "x86_64",
    },
    cpus: 1,
    memoryBytes: 1024 ** 3,
    diskBytes: undefined,
    mounts: [],
    network: false,
  },
};

const base: DomainShape = {
  name: "heyvm-sb-0123abcd",
  uuid: "00000000-0000-8000-a000-000000000001",
  title: "my-sandbox (debian:12)",
  metadata,
  architecture: "x86_64",
  accelerator: "kvm",
  vcpus: 1,
  memoryBytes: 1024 ** 3,
  disks: [
    {
      path: "/home/ann/.local/share/libvirt/images/heyvm/sb-0123abcd.qcow2",
      format: "qcow2",
      readOnly: false,
    },
  ],
  mounts: [],
  network: { kind: "none" },
  consoleLogPath: "/home/ann/.local/share/libvirt/images/heyvm/sb-0123abcd.console.log",
};

const macAddress = "52:54:00:01:23:ab";

/** One file per feature: `golden/<name>.xml`. `UPDATE_GOLDEN=1` rewrites them. */
const cases: Record<string, DomainShape> = {
  kvm: base,
  tcg: { ...base, accelerator: "tcg" },
  "cpus-and-memory": { ...base, vcpus: 4, memoryBytes: 1_500_000_001 },
  mounts: {
    ...base,
    mounts: [
      { tag: "mount0", hostPath: "/home/ann/project", readOnly: false },
      { tag: "mount1", hostPath: "/srv/data & <more> \"quoted\" 'too'", readOnly: true },
    ],
  },
  "network-passt": { ...base, network: { kind: "passt", socketPath: "/run/user/1000/p.sock", macAddress } },
  "network-slirp": { ...base, network: { kind: "slirp", macAddress } },
  preparation: {
    ...base,
    name: "heyvm-preparing-89abcdef",
    title: "preparing debian:12 for python",
    metadata: {
      kind: "preparation",
      id: "preparing-89abcdef",
      owner: metadata.owner,
      key: "0123456789abcdef",
      build: "89abcdef",
      maker: { host: "host", bootId: "b", pid: 1, startTicks: "2" },
    },
    disks: [...base.disks, { path: "/pool/preparing-89abcdef.seed.iso", format: "raw", readOnly: true }],
  },
  template: { ...base, accelerator: "tcg", memoryImage: { path: "/pool/template.ram", use: "written" } },
  "growable-template": {
    ...base,
    accelerator: "tcg",
    room: { vcpus: 16, memoryBytes: 64 * 1024 ** 3 },
    memoryImage: { path: "/pool/template.ram", use: "written" },
  },
  clone: {
    ...base,
    accelerator: "tcg",
    memoryImage: { path: "/pool/a,b.ram", use: "private" },
    mounts: [
      { tag: "mount0", hostPath: "/home/ann/project", readOnly: false },
      { tag: "mount1", hostPath: "/srv/a,b", readOnly: true },
    ],
    network: { kind: "passt", socketPath: "/run/user/1000/p.sock", macAddress },
  },
  aarch64: { ...base, architecture: "aarch64" },
  "aarch64-tcg": { ...base, architecture: "aarch64", accelerator: "tcg" },
  system: {
    ...base,
    disks: [{ path: "/var/lib/libvirt/images/heyvm/sb-0123abcd.qcow2", format: "qcow2", readOnly: false }],
    consoleLogPath: "/var/lib/libvirt/images/heyvm/sb-0123abcd.console.log",
  },
};

const golden = (name: string) => new URL(`golden/${name}.xml`, import.meta.url);

describe("domain XML", () => {
  test.each(Object.entries(cases))("%s is as in its golden file", (name, shape) => {
    const xml = buildDomainXml(shape);
    if (process.env["UPDATE_GOLDEN"] === "1") writeFileSync(golden(name), xml);
    expect(xml).toBe(readFileSync(golden(name), "utf8"));
  });

  test("every golden file has its case", () => {
    const files = readdirSync(new URL("golden/", import.meta.url)).map((file) => file.replace(/\.xml$/, ""));
    expect(files.toSorted()).toEqual(Object.keys(cases).toSorted());
  });

  test.skipIf(spawnSync("xmllint", ["--version"]).status !== 0)(
    "libvirt's schema accepts every golden file",
    () => {
      for (const name of Object.keys(cases)) {
        const result = spawnSync("virt-xml-validate", [fileURLToPath(golden(name)), "domain"], {
          encoding: "utf8",
        });
        // Its verdict goes to stderr, good or bad.
        expect(result).toMatchObject({ status: 0 });
      }
    },
  );

  test.each(Object.entries(cases))("the metadata of %s reads back as it was", (_, shape) => {
    // JSON drops absent values, as the metadata does.
    expect(readMetadata(buildDomainXml(shape))).toEqual(JSON.parse(JSON.stringify(shape.metadata)));
  });

  test("markup in a name stays text", () => {
    const name = `</heyvm:data><evil a="&amp;"/>]]> ' "`;
    const shape: DomainShape = {
      ...base,
      title: name,
      metadata: { ...metadata, spec: { ...metadata.spec, name } },
    };
    const xml = buildDomainXml(shape);
    expect(xml).not.toContain("<evil");
    const read = readMetadata(xml);
    expect(read?.kind === "sandbox" && read.spec.name).toBe(name);
  });

  test.each([["<domain/>"], ["<domain><metadata/></domain>"], ["not xml"]])(
    "%s has no metadata of ours",
    (xml) => {
      expect(readMetadata(xml)).toBeUndefined();
    },
  );
});
