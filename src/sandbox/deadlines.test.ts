import { beforeEach, afterEach, expect, test, vi } from "vitest";

import { createDeadlines } from "./deadlines.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("a deadline far away comes at its moment, once", () => {
  const expired: string[] = [];
  const deadlines = createDeadlines((id) => expired.push(id));
  deadlines.arm("far", Date.now() + 60 * 24 * hourMs);
  vi.advanceTimersByTime(60 * 24 * hourMs - 1);
  expect([expired, deadlines.pending]).toEqual([[], 1]);
  vi.advanceTimersByTime(1);
  vi.advanceTimersByTime(hourMs);
  expect([expired, deadlines.pending]).toEqual([["far"], 0]);
});

test("one that has passed while the host slept comes soon after", () => {
  const expired: string[] = [];
  createDeadlines((id) => expired.push(id)).arm("slept", Date.now() + 2 * hourMs);
  vi.setSystemTime(Date.now() + 3 * hourMs);
  vi.advanceTimersByTime(minuteMs);
  expect(expired).toEqual(["slept"]);
});

test("a clock that is set back keeps it waiting", () => {
  const expired: string[] = [];
  createDeadlines((id) => expired.push(id)).arm("back", Date.now() + 10_000);
  vi.setSystemTime(Date.now() - hourMs);
  vi.advanceTimersByTime(minuteMs);
  expect(expired).toEqual([]);
  vi.advanceTimersByTime(hourMs);
  expect(expired).toEqual(["back"]);
});

test("of deadlines that were taken back or replaced only the last counts", () => {
  const expired: string[] = [];
  const deadlines = createDeadlines((id) => expired.push(id));
  deadlines.arm("gone", Date.now() + 1000);
  deadlines.disarm("gone");
  deadlines.arm("moved", Date.now() + 1000);
  deadlines.arm("moved", Date.now() + hourMs);
  vi.advanceTimersByTime(minuteMs);
  expect(expired).toEqual([]);
  deadlines.close();
  vi.advanceTimersByTime(2 * hourMs);
  expect([expired, deadlines.pending]).toEqual([[], 0]);
});
