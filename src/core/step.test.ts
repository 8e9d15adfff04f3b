import { expect, test } from "vitest";

import { AbortedError } from "../errors/index.ts";
import { inConsecutiveSteps, inStep, type Step } from "./step.ts";

const title = "Cloning the machine";
const step = { id: "machine", title };

/** What was told: `machine started`. */
function listen(): { told: string[]; onStep: (step: Step) => void } {
  const told: string[] = [];
  return { told, onStep: ({ id, state }) => void told.push(`${id} ${state}`) };
}

const at = (id: string, doneBytes?: number): Step => ({ id, title: id, state: "progress", doneBytes });

test("a step tells its begin and its end, and no end where it failed", async () => {
  const { told, onStep } = listen();
  const context = { signal: new AbortController().signal, onStep };
  expect(await inStep(context, step, async () => await Promise.resolve(7))).toBe(7);
  await expect(inStep(context, step, async () => await Promise.reject(new Error("no")))).rejects.toThrow(
    "no",
  );
  expect(told).toEqual(["machine started", "machine done", "machine started"]);
});

test("a step that nobody wants any more is not begun, and told as cancelled whatever the signal's reason", async () => {
  const { told, onStep } = listen();
  const signal = AbortSignal.abort();
  const done = inStep({ signal, onStep }, step, async () => await Promise.resolve());
  await expect(done).rejects.toThrow(new AbortedError(title, signal.reason));
  expect(told).toEqual([]);
});

test("of consecutive steps one ends where the next begins, and the last with the work", async () => {
  const { told, onStep } = listen();
  await inConsecutiveSteps(onStep, async (work) => {
    work(at("look"));
    work(at("load", 1));
    work(at("load", 2));
    await Promise.resolve();
  });
  expect(told).toEqual([
    "look started",
    "look done",
    "load started",
    "load progress",
    "load progress",
    "load done",
  ]);
});
