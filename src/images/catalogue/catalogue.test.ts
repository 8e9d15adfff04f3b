import { describe, expect, it } from "vitest";

import {
  catalogue,
  findInCatalogue,
  laterCopyName,
  namesOf,
  namesInListing,
  newestOf,
  publisherUrl,
} from "./catalogue.ts";

const alpine = namesOf(findInCatalogue("alpine:3.23")?.fileName("x86_64") ?? "never").pattern;

describe("the catalogue", () => {
  it.each([
    ["ubuntu:24.04", "x86_64", "ubuntu-24.04-server-cloudimg-amd64.img"],
    ["ubuntu:24.04", "aarch64", "ubuntu-24.04-server-cloudimg-arm64.img"],
    ["debian:12", "x86_64", "debian-12-generic-amd64.qcow2"],
    ["debian:12", "aarch64", "debian-12-generic-arm64.qcow2"],
  ] as const)("has %s for %s", (name, architecture, fileName) => {
    const names = namesOf(findInCatalogue(name)?.fileName(architecture) ?? "");
    expect(names.fileName).toBe(fileName);
    expect(names.pattern.test(fileName)).toBe(true);
  });

  it("knows newer copies of a file by their names", () => {
    for (const entry of catalogue.filter(({ publisher }) => publisher !== "alpine")) {
      const { fileName = "", pattern } = namesOf(entry.fileName("x86_64"));
      expect(pattern.test(laterCopyName(fileName, "0123456789abcdef"))).toBe(true);
      expect(pattern.test(`${fileName}.partial`)).toBe(false);
    }
  });

  it("takes a mirror in place of the publisher, with or without a slash and a path", () => {
    const path = "/images/x.qcow2";
    expect(publisherUrl("debian", path, {}).href).toBe("https://cloud.debian.org/images/x.qcow2");
    for (const debian of ["http://mirror:8080/debian", "http://mirror:8080/debian/"]) {
      expect(publisherUrl("debian", path, { debian }).href).toBe("http://mirror:8080/debian/images/x.qcow2");
    }
  });
});

function name(point: string, flavour = "x86_64-bios-cloudinit"): string {
  return `nocloud_alpine-3.23.${point.replace(" ", `-${flavour}-`)}.qcow2`;
}

describe("the newest of Alpine's releases", () => {
  it("is the one with the greatest numbers, not the last by alphabet", () => {
    expect(newestOf([name("2 r0"), name("10 r0"), name("9 r3")], alpine)).toBe(name("10 r0"));
    expect(newestOf([name("4 r2"), name("4 r10"), name("4 r9")], alpine)).toBe(name("4 r10"));
  });

  it("is of the asked flavour and architecture", () => {
    const others = [
      name("9 r0", "x86_64-uefi-cloudinit"),
      name("9 r0", "x86_64-bios-tiny"),
      name("9 r0", "aarch64-uefi-cloudinit"),
      name("9 r0").replace("nocloud", "generic"),
      `${name("9 r0")}.sha512`,
    ];
    expect(newestOf([...others, name("3 r0")], alpine)).toBe(name("3 r0"));
    expect(newestOf(others, alpine)).toBeUndefined();
  });
});

it.each([
  ["nginx", `<a href="a.qcow2">a.qc..&gt;</a>`],
  ["Apache", `<td><a href="a.qcow2">a.qcow2</a></td>`],
  ["absolute paths", `<A HREF='/alpine/v3.23/releases/cloud/a.qcow2?x=1'>a</A>`],
  ["no quotes", "<a href=a.qcow2>a</a>"],
])("a listing in the style of %s is understood", (_style, html) => {
  expect(namesInListing(`<html>${html}<a href="%zz">bad</a></html>`).has("a.qcow2")).toBe(true);
});
