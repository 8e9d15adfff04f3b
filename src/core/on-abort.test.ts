import { getEventListeners } from "node:events";
import { expect, test } from "vitest";

import { onAbort } from "./on-abort.ts";

test("many listen to one signal with one listener, which goes with the last of them", () => {
  const { signal } = new AbortController();
  const stops = Array.from({ length: 20 }, () => onAbort(signal, () => undefined));
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
  for (const stop of stops) stop();
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});

test("who still listens is told once, with the reason; who comes later, at once", () => {
  const controller = new AbortController();
  const told: unknown[] = [];
  const stop = onAbort(controller.signal, () => told.push("nobody"));
  onAbort(controller.signal, (reason) => told.push(reason));
  stop();
  controller.abort("enough");
  onAbort(controller.signal, (reason) => told.push(["late", reason]));
  expect(told).toEqual(["enough", ["late", "enough"]]);
});

test("one whom another stops while all are told is not told any more", () => {
  const controller = new AbortController();
  let told = false;
  onAbort(controller.signal, () => stop());
  const stop = onAbort(controller.signal, () => (told = true));
  controller.abort();
  expect(told).toBe(false);
});
