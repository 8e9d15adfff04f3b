import { expect, test } from "vitest";

import type { MachineStep } from "../backend.ts";
import { createSharedWork } from "./shared-work.ts";

const step: MachineStep = { id: "a", title: "A", state: "started" };
const context = (signal = new AbortController().signal, seen: MachineStep[] = []) => ({
  signal,
  onStep: (step: MachineStep) => void seen.push(step),
});

const ignore = (): void => undefined;
const fail = () => Promise.reject(new Error("broken"));

test("many who want the same get one piece of work and its result", async () => {
  const shared = createSharedWork<number>();
  let runs = 0;
  const work = async () => {
    runs += 1;
    await Promise.resolve();
    return 7;
  };
  const results = await Promise.all(Array.from({ length: 20 }, () => shared.run("k", context(), work)));
  expect(new Set(results)).toEqual(new Set([7]));
  expect(runs).toBe(1);
});

test("one who leaves does not end the work of the others", async () => {
  const shared = createSharedWork<string>();
  let finish: (value: string) => void = ignore;
  const work = () => new Promise<string>((resolve) => (finish = resolve));
  const leaver = new AbortController();
  const left = shared.run("k", context(leaver.signal), work);
  const stays = shared.run("k", context(), work);
  await Promise.resolve();
  leaver.abort();
  await expect(left).rejects.toMatchObject({ code: "aborted" });
  finish("done");
  expect(await stays).toBe("done");
});

test("when all have left the work is cancelled, and the last one waits for its clean-up", async () => {
  const shared = createSharedWork<string>();
  let cleaned = false;
  const leaver = new AbortController();
  const left = shared.run("k", context(leaver.signal), async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    await new Promise((resolve) => setTimeout(resolve, 20));
    cleaned = true;
    throw signal.reason;
  });
  setTimeout(() => leaver.abort(), 10);
  await expect(left).rejects.toMatchObject({ code: "aborted" });
  expect(cleaned).toBe(true);
});

test("a failure reaches everyone, and the next caller tries again", async () => {
  const shared = createSharedWork<string>();
  const both = await Promise.allSettled([shared.run("k", context(), fail), shared.run("k", context(), fail)]);
  expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(await shared.run("k", context(), () => Promise.resolve("fine"))).toBe("fine");
});

test("who comes late is told the step that the work is at", async () => {
  const shared = createSharedWork<string>();
  let finish: (value: string) => void = ignore;
  const first = shared.run("k", context(), ({ onStep }) => {
    onStep(step);
    return new Promise((resolve) => (finish = resolve));
  });
  await new Promise((resolve) => setImmediate(resolve));
  const seen: MachineStep[] = [];
  const second = shared.run("k", context(undefined, seen), () => Promise.resolve("never"));
  await new Promise((resolve) => setImmediate(resolve));
  finish("x");
  expect(await Promise.all([first, second])).toEqual(["x", "x"]);
  expect(seen).toEqual([step]);
});
