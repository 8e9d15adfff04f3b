import { expect, test } from "vitest";

import { createMemoryHost } from "../testing/memory-host.ts";
import { cloningCheck } from "./cloning-check.ts";

const { signal } = new AbortController();
const refusalPath = "/nonexistent/cloning.json";

test("of which machines the templates do not work is told, with the command that tries again", async () => {
  const host = createMemoryHost({ confinement: undefined });
  const doubt = "debian:12 for python, 1 CPU, 1 GiB until 2026-01-01T00:00:00.000Z: it never rests";
  const check = async (doubts: string[]) =>
    await cloningCheck(host, { refusalPath, doubts: async () => doubts }, signal);
  expect(await check([])).toMatchObject({ verdict: "ok" });
  const doubted = await check([doubt]);
  expect(doubted).toMatchObject({ verdict: "warning", message: expect.stringContaining(doubt) });
  expect(doubted.message).toContain("heyvm templates build");
});

test("what keeps all machines from being clones comes first", async () => {
  const check = await cloningCheck(createMemoryHost(), { refusalPath, doubts: async () => ["more"] }, signal);
  expect(check).toMatchObject({
    verdict: "warning",
    message: expect.stringMatching(/^a new sandbox boots: .*apparmor/),
  });
});
