import { describe, expect, it } from "vitest";

import { findChecksum, parseChecksum } from "./checksum.ts";

const sha256 = "a".repeat(64);
const sha512 = "b".repeat(128);

describe("a publisher's checksum file", () => {
  it.each([
    ["Ubuntu's SHA256SUMS", "sha256", `${"0".repeat(64)} *other.img\n${sha256} *disk.img\n`],
    ["Debian's SHA512SUMS", "sha512", `${sha512}  disk.img\n${"0".repeat(128)}  other.img\n`],
    ["Alpine's .sha512 with a name", "sha512", `${sha512}  disk.img\n`],
    ["Alpine's .sha512 without one", "sha512", `${sha512}\n`],
    ["a BSD style file", "sha512", `SHA512 (disk.img) = ${sha512.toUpperCase()}\r\n`],
  ] as const)("%s is read", (_what, algorithm, text) => {
    const hex = algorithm === "sha256" ? sha256 : sha512;
    expect(findChecksum(text, "disk.img", { algorithm, alone: true })).toEqual({ algorithm, hex });
  });

  it.each([
    ["another file's", `${sha512}  other.img\n`],
    ["a file's whose name ends like it", `${sha512}  big-disk.img\n`],
    ["of another algorithm", `${sha256}  disk.img\n`],
    ["cut off", `${sha512.slice(1)}  disk.img\n`],
    ["a web page", "<html>Sign in</html>"],
    ["nothing", ""],
  ])("a checksum that is %s is none", (_what, text) => {
    expect(findChecksum(text, "disk.img", { algorithm: "sha512", alone: true })).toBeUndefined();
  });

  it("a bare checksum counts only where the file is about one image", () => {
    expect(findChecksum(sha512, "disk.img", { algorithm: "sha512", alone: false })).toBeUndefined();
  });
});

it.each(["", "md5:00", "sha256:", `sha256:${sha512}`, `sha512:${sha256}`, sha256])(
  "%j is no checksum",
  (text) => {
    expect(() => parseChecksum(text)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  },
);
