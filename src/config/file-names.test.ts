import { expect, test } from "vitest";

import { bytesOfName, decodeQueryText, encodeQueryText, isTextOfName, textOfName } from "./file-names.ts";

const everyByte = Buffer.from(
  Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 0 && byte !== 0x2f),
);

test.each([
  ["every byte", everyByte],
  ["every byte backwards", everyByte.toReversed()],
  ["an encoded surrogate", Buffer.from([0xed, 0xb3, 0xbf])],
  ["a cut character", Buffer.from([0x61, 0xe2, 0x82])],
  [
    "characters among bytes that are none",
    Buffer.from([0xff, 0xc3, 0xa9, 0xf0, 0x9f, 0x92, 0x80, 0xa9, 0x61]),
  ],
  ["overlong encodings", Buffer.from([0xc0, 0xaf, 0xe0, 0x80, 0xaf])],
])("%s: the name comes back from its text, JSON and a query", (_what, bytes) => {
  const text = textOfName(bytes);
  expect(bytesOfName(text).equals(bytes)).toBe(true);
  expect(isTextOfName(text)).toBe(true);
  expect(JSON.parse(JSON.stringify(text))).toBe(text);
  expect(encodeQueryText(text)).toMatch(/^[!-~]+$/);
  expect(decodeQueryText(encodeQueryText(text))).toBe(text);
});

test("a byte that is no UTF-8 is a lone surrogate, as the guest has it", () => {
  expect(textOfName(Buffer.from([0x61, 0xff, 0xc3, 0xa9]))).toBe("a\udcffé");
  expect(encodeQueryText("a\udcff")).toBe("%61%ff");
});

test.each(["plain", "mit Leerzeichen + % & ü", "💀 \u{1f4ff}", "\ufffd"])(
  "%s is the same in bytes",
  (name) => {
    expect(textOfName(Buffer.from(name))).toBe(name);
    expect(bytesOfName(name).equals(Buffer.from(name))).toBe(true);
    expect(encodeQueryText(name)).toBe(encodeURIComponent(name));
  },
);

test.each(["\udcc3\udca9", "\udc2f", "\ud800", "\udc00"])(
  "a text that stands for no name is known",
  (text) => {
    expect(isTextOfName(text)).toBe(false);
  },
);
