import * as fc from "fast-check";
import { expect, test } from "vitest";

import { formatSize, parseSize } from "./size.ts";

test.each([
  ["2G", 2 ** 31],
  ["512M", 2 ** 29],
  ["1.5GiB", 1.5 * 2 ** 30],
  ["64 kb", 65_536],
  ["1t", 2 ** 40],
  ["123", 123],
])("%s is read as %d bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(["", "G", "-1", "1.2.3", "2X", "1e3", "9".repeat(30), "0x10", "1 G B"])(
  "%j is refused with the field's name",
  (text) => {
    expect(() => parseSize(text, "memory")).toThrow(
      expect.objectContaining({
        code: "invalid_argument",
        details: expect.objectContaining({ field: "memory" }),
      }),
    );
  },
);

test("what was formatted reads back as nearly the same size", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
      const back = parseSize(formatSize(bytes));
      expect(Math.abs(back - bytes)).toBeLessThanOrEqual(bytes * 0.06);
    }),
  );
});
