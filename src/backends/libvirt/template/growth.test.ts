import { expect, test } from "vitest";

import { growableShape, growthTo } from "./growth.ts";
import type { MachineShape } from "./template-key.ts";

const GiB = 1024 ** 3;
const usual = { vcpus: 1, memoryBytes: GiB };

function wanted(vcpus: number, memoryBytes: number, more?: Partial<MachineShape>): MachineShape {
  return { architecture: "x86_64", accelerator: "tcg", vcpus, memoryBytes, ...more };
}

test("all larger sizes grow out of the same machine", () => {
  const sizes = [wanted(2, 2 * GiB), wanted(16, GiB), wanted(1, 64 * GiB), wanted(1, GiB + 128 * 1024 ** 2)];
  const bases = sizes.map((size) => growableShape(usual, size));
  expect(new Set(bases.map((base) => JSON.stringify(base))).size).toBe(1);
  expect(bases[0]).toEqual({ ...wanted(1, GiB), room: { vcpus: 16, memoryBytes: 64 * GiB } });
});

test("what is plugged in is the difference", () => {
  const base = growableShape({ vcpus: 2, memoryBytes: GiB }, wanted(4, 3 * GiB));
  expect(base && growthTo(base, wanted(4, 3 * GiB))).toEqual({ vcpus: 3, memoryBytes: 2 * GiB });
});

test.each([
  ["less memory than usual", wanted(2, GiB / 2)],
  ["memory in no whole sections", wanted(2, GiB + 100 * 1024 ** 2)],
  ["more CPUs than there is room for", wanted(17, 2 * GiB)],
  ["more memory than there is room for", wanted(2, 65 * GiB)],
  ["an architecture of which nothing is known", wanted(2, 2 * GiB, { architecture: "aarch64" })],
])("%s cannot be grown to", (_, size) => {
  expect(growableShape(usual, size)).toBeUndefined();
});
