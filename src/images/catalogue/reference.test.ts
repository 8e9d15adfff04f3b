import { describe, expect, it } from "vitest";

import { catalogue, laterCopyName, namesOf } from "./catalogue.ts";
import { checkImageName, fileNameOfUrl, parseReference } from "./reference.ts";

describe("a reference", () => {
  it.each([
    ["debian:12", { kind: "name", name: "debian:12" }],
    ["./disk.qcow2", { kind: "path", path: `${process.cwd()}/disk.qcow2` }],
    ["/a/../b.img", { kind: "path", path: "/b.img" }],
  ])("%s is understood", (text, expected) => {
    expect(parseReference(text)).toEqual(expected);
  });

  it.each([
    "",
    "..",
    "-debian",
    "a:b:c",
    "debian:",
    "debian 12",
    "debian\n12",
    "debian\u0000",
    "/a\u0000b",
    "<xml>",
    "x".repeat(200),
    "ftp://host/x.qcow2",
    "file:///etc/shadow",
    "http://",
    "https://user:secret@host/x.qcow2",
  ])("%j is refused", (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  });

  it("with credentials is refused without repeating them", () => {
    expect(() => parseReference("https://user:secret@host/x")).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("secret") }),
    );
  });
});

it.each(["../x", "a/b", "a..b", "", ".x", "x.qcow2", "x.IMG", "a\nb", "a'b", "http://x"])(
  "%j can't be given as a name",
  (name) => {
    expect(() => checkImageName(name)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  },
);

describe("the file of a URL", () => {
  it("stays in its folder, whatever the URL says", () => {
    for (const url of [
      "http://h/..%2f..%2fetc%2fpasswd",
      "http://h/",
      "http://h/.hidden",
      "http://h/a%00b",
    ]) {
      expect(fileNameOfUrl(new URL(url))).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*-url-[0-9a-f]{12}\.img$/);
    }
  });

  it("is never that of an image of the catalogue, so that no URL can pass for one", () => {
    for (const { fileName: nameFor } of catalogue) {
      for (const architecture of ["x86_64", "aarch64"] as const) {
        const { pattern } = namesOf(nameFor(architecture));
        const fileName = nameFor(architecture).replaceAll("{n}", "0");
        expect(fileName).toMatch(pattern);
        for (const name of [fileName, laterCopyName(fileName, "0123456789abcdef")]) {
          expect(fileNameOfUrl(new URL(`http://elsewhere/${name}`))).not.toMatch(pattern);
        }
      }
    }
  });

  it("differs for different URLs of the same name", () => {
    const names = ["http://a/x.qcow2", "http://b/x.qcow2", "http://a/x.qcow2?v=2"];
    expect(new Set(names.map((url) => fileNameOfUrl(new URL(url)))).size).toBe(3);
  });
});
