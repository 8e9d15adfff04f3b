import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createTemplateTrust } from "./template-trust.ts";

const hour = 3_600_000;
const day = 24 * hour;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "heyvm-trust-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("a doubt lasts longer each time, a month at most, and ends when a clone answers", async () => {
  let nowMs = 1000 * day;
  const trust = createTemplateTrust(join(folder, "doubts.json"), () => nowMs);
  const lasted: number[] = [];
  for (let failures = 1; failures <= 8; failures += 1) {
    await trust.doubtFrom("a", "debian:12", "silent");
    const sinceMs = nowMs;
    while ((await trust.doubt("a")) !== undefined) nowMs += hour / 2;
    lasted.push((nowMs - sinceMs) / hour);
  }
  expect(lasted).toEqual([0.5, 2, 8, 32, 128, 512, 720, 720]);
  await trust.prove("a", "00000001", "debian:12");
  await trust.doubtFrom("a", "debian:12", "silent");
  nowMs += hour / 2;
  expect(await trust.doubt("a")).toBeUndefined();
  await trust.saved();
});

test("what was found out is known after the next start; that one has worked is not: the host may have changed", async () => {
  const path = join(folder, "state", "doubts.json");
  const trust = createTemplateTrust(path);
  await trust.doubtFrom("a", "debian:12 for shell", "silent");
  await trust.prove("b", "00000001", "debian:12 for python");
  expect(trust.isProven("00000001")).toBe(true);
  await trust.saved();
  const next = createTemplateTrust(path);
  expect(await next.doubt("a")).toBe("silent");
  expect(await next.doubts()).toEqual([expect.stringMatching(/^debian:12 for shell until \S+Z: silent$/)]);
  expect(next.isProven("00000001")).toBe(false);
});

test("a clock that is set back by years does not prolong a doubt", async () => {
  let nowMs = 1000 * day;
  const trust = createTemplateTrust(join(folder, "doubts.json"), () => nowMs);
  await trust.doubtFrom("a", "debian:12", "silent");
  nowMs -= 900 * day;
  expect(await trust.doubt("a")).toBeUndefined();
  await trust.saved();
});
