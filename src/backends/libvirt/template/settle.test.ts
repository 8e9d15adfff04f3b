import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { DomainActivity } from "../host.ts";
import { createMemoryHost } from "../testing/memory-host.ts";
import { GuestRestlessError, waitForRest } from "./settle.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A guest whose activity at each look is told. */
function guest(next: (look: number) => DomainActivity) {
  const { domains } = createMemoryHost();
  let looks = 0;
  return {
    domains: { ...domains, activity: async () => next((looks += 1)) },
    looks: () => looks,
  };
}

async function settle(domains: ReturnType<typeof guest>["domains"], signal = new AbortController().signal) {
  const done = waitForRest(domains, "domain", "settling", signal).then(
    () => "rested",
    (error: unknown) => error,
  );
  await vi.advanceTimersByTimeAsync(400_000);
  return done;
}

test("a guest rests when three seconds in a row neither CPU nor disk was used", async () => {
  // Busy until the fifth look, then one more burst.
  const cpu = [0, 1, 2, 3, 4, 4.01, 4.02, 4.9, 4.91, 4.92, 4.93];
  const { domains, looks } = guest((look) => ({ cpuSeconds: cpu[look - 1] ?? 5, diskRequests: 7 }));
  expect(await settle(domains)).toBe("rested");
  expect(looks()).toBe(11);
});

test("a disk that is written keeps it from resting", async () => {
  const { domains } = guest((look) => ({ cpuSeconds: 0, diskRequests: look }));
  expect(await settle(domains)).toBeInstanceOf(GuestRestlessError);
});

test("the wait ends with the signal", async () => {
  const { domains } = guest((look) => ({ cpuSeconds: look, diskRequests: 0 }));
  expect(await settle(domains, AbortSignal.abort())).toMatchObject({ code: "aborted" });
});
