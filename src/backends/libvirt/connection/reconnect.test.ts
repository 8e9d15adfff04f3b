import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { createReconnect } from "./reconnect.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const hour = 3_600_000;

test("a libvirt that is away for hours is found when it is back, within half a minute", async () => {
  let isBack = false;
  const attempt = vi.fn<() => Promise<void>>(async () => {
    await Promise.resolve();
    if (!isBack) throw new Error("away");
  });
  const reconnect = createReconnect(attempt, new AbortController().signal);
  reconnect.begin();
  await vi.advanceTimersByTimeAsync(3 * hour);
  expect(attempt.mock.calls.length).toBeGreaterThan(300);
  isBack = true;
  const before = attempt.mock.calls.length;
  await vi.advanceTimersByTimeAsync(30_000);
  expect(attempt.mock.calls.length).toBe(before + 1);
  await vi.advanceTimersByTimeAsync(hour);
  expect(attempt.mock.calls.length).toBe(before + 1);
});

test("one that goes away again while it is asked is asked again", async () => {
  const attempt = vi.fn<() => Promise<void>>(async () => {
    await Promise.resolve();
    if (attempt.mock.calls.length === 1) reconnect.begin();
  });
  const reconnect = createReconnect(attempt, new AbortController().signal);
  reconnect.begin();
  reconnect.begin();
  await vi.advanceTimersByTimeAsync(hour);
  expect(attempt.mock.calls.length).toBe(2);
});

test("who has closed it asks no more", async () => {
  const closing = new AbortController();
  const attempt = vi.fn<() => Promise<void>>(async () => await Promise.reject(new Error("away")));
  const reconnect = createReconnect(attempt, closing.signal);
  reconnect.begin();
  await vi.advanceTimersByTimeAsync(1000);
  expect(attempt).toHaveBeenCalled();
  closing.abort();
  attempt.mockClear();
  reconnect.begin();
  await vi.advanceTimersByTimeAsync(hour);
  expect(attempt).not.toHaveBeenCalled();
  expect(vi.getTimerCount()).toBe(0);
});
