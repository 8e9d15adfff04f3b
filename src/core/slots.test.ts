import { expect, test, vi } from "vitest";

import { createSlots } from "./slots.ts";

const signal = new AbortController().signal;

/** What a slot was taken for, in the order in which they were. */
function takers(slots: ReturnType<typeof createSlots>) {
  const seen: string[] = [];
  const take = async (name: string, until = signal) => {
    const slot = await slots.take(name, until);
    seen.push(name);
    return slot;
  };
  return { seen, take };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("so many go on at once, and the others in the order of asking", async () => {
  const slots = createSlots(2, 60_000);
  const { seen, take } = takers(slots);
  const [a, , c] = [take("a"), take("b"), take("c"), take("d")];
  await settled();
  expect(seen).toEqual(["a", "b"]);
  expect(slots.isFull).toBe(true);
  const first = await a;
  first.release();
  first.release();
  await settled();
  expect(seen).toEqual(["a", "b", "c"]);
  (await c).release();
  await settled();
  expect(seen).toEqual(["a", "b", "c", "d"]);
});

test("who gives up leaves the row, also in the moment in which its turn comes", async () => {
  const slots = createSlots(1, 60_000);
  const { seen, take } = takers(slots);
  const first = await take("first");
  const [early, late] = [new AbortController(), new AbortController()];
  const second = take("the second", early.signal);
  const third = take("the third", late.signal);
  const fourth = take("fourth");
  early.abort();
  await expect(second).rejects.toMatchObject({
    code: "aborted",
    message: expect.stringContaining("the second"),
  });
  late.abort();
  first.release();
  await expect(third).rejects.toMatchObject({ code: "aborted" });
  (await fourth).release();
  expect(seen).toEqual(["first", "fourth"]);
  expect(slots.isFull).toBe(false);
});

test("a slot that nobody gives back is free again after its time, and counts once", async () => {
  vi.useFakeTimers();
  try {
    const slots = createSlots(1, 5_000);
    const { seen, take } = takers(slots);
    const hung = await take("hung");
    const next = take("next");
    await vi.advanceTimersByTimeAsync(4_999);
    expect(seen).toEqual(["hung"]);
    await vi.advanceTimersByTimeAsync(1);
    expect(seen).toEqual(["hung", "next"]);
    hung.release();
    expect(slots.isFull).toBe(true);
    (await next).release();
    expect(slots.isFull).toBe(false);
  } finally {
    vi.useRealTimers();
  }
});
