import { expect, test } from "vitest";

import { resolveSize } from "./machine-size.ts";

const defaults = { cpus: 1, memoryBytes: 2 ** 30 };

test.each([
  [{ cpus: 0.5 }, 1, "asked for 0.5 CPUs, the sandbox has 1 whole virtual CPU"],
  [{ cpus: 1.5 }, 2, "asked for 1.5 CPUs, the sandbox has 2 whole virtual CPUs"],
  [{ sizeClass: "micro" as const }, 1, "asked for 0.25 CPUs, the sandbox has 1 whole virtual CPU"],
  [{ sizeClass: "micro" as const, cpus: 1 }, 1, undefined],
  [{}, 1, undefined],
])("%j gets %i virtual CPUs", (request, cpus, warning) => {
  const size = resolveSize(request, defaults);
  expect(size.cpus).toBe(cpus);
  const told = size.warnings.filter((line) => line.includes("asked for"));
  expect(told).toEqual(warning === undefined ? [] : [warning]);
});

test.each([0, -0.5, Number.NaN, 100_000])("%d CPUs are refused", (cpus) => {
  expect(() => resolveSize({ cpus }, defaults)).toThrow("cpus is");
});

test("memory with which an image of the catalogue does not boot is refused, by its name", () => {
  const memoryBytes = 255 * 2 ** 20;
  expect(() => resolveSize({ memoryBytes }, defaults, "debian:12")).toThrow(
    "memory is 255 MiB: debian:12 does not boot with less than 256 MiB",
  );
  expect(resolveSize({ memoryBytes: 256 * 2 ** 20 }, defaults, "debian:12").memoryBytes).toBe(256 * 2 ** 20);
  // Of any other nobody knows.
  for (const image of [undefined, "./disk.qcow2", "alpine:3.23"]) {
    expect(resolveSize({ memoryBytes }, defaults, image).memoryBytes).toBe(memoryBytes);
  }
});
