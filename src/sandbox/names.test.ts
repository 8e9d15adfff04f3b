import * as fc from "fast-check";
import { expect, test } from "vitest";

import { checkName, checkSlug, freeSlug, slugOf } from "./names.ts";

test.each(["a", "My Box 2", "web-1.prod_x", "x".repeat(63), "7"])("%j is a name", (name) => {
  expect(() => checkName(name)).not.toThrow();
});

test.each([
  "",
  "x".repeat(64),
  "../etc",
  "a..b",
  "a/b",
  "a\nb",
  'a"b',
  "a'b",
  "<xml>",
  "-a",
  "a-",
  " a",
  "a\0b",
  "sb-0123abcd",
  "ünï",
])("%j is refused as a name", (name) => {
  expect(() => checkName(name)).toThrow(
    expect.objectContaining({
      code: "invalid_argument",
      details: { field: "name" },
      hint: expect.any(String),
    }),
  );
});

test("every name gives a slug that is a host name's label", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9 ._-]{0,61}[A-Za-z0-9]$/), (name) => {
      fc.pre(!name.includes("..") && !/^sb-[0-9a-f]{8}$/.test(slugOf(name)));
      expect(() => checkSlug(slugOf(name))).not.toThrow();
    }),
  );
});

test("a taken slug gets the first free number, within the longest length", () => {
  const taken = new Set(["box", "box-2", "x".repeat(63)]);
  expect(freeSlug("box", (slug) => taken.has(slug))).toBe("box-3");
  expect(freeSlug("x".repeat(63), (slug) => taken.has(slug))).toBe(`${"x".repeat(61)}-2`);
});
