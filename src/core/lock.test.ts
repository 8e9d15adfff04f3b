import { expect, test } from "vitest";

import { createLock } from "./lock.ts";

test("work runs one at a time, in the order of asking", async () => {
  const lock = createLock();
  const events: string[] = [];
  const work = (name: string) => async (): Promise<void> => {
    events.push(`${name} begins`);
    await Promise.resolve();
    events.push(`${name} ends`);
  };
  await Promise.all([lock.run("a", work("a")), lock.run("b", work("b"))]);
  expect(events).toEqual(["a begins", "a ends", "b begins", "b ends"]);
});

test("who gives up waiting lets the others pass, and not before their turn", async () => {
  const lock = createLock();
  let release: (() => void) | undefined;
  const first = lock.run("first", async () => await new Promise<void>((resolve) => (release = resolve)));
  const giveUp = new AbortController();
  const second = lock.run("second", async () => await Promise.resolve(), giveUp.signal);
  let thirdRan = false;
  const third = lock.run("third", async () => {
    thirdRan = true;
    await Promise.resolve();
  });
  giveUp.abort();
  await expect(second).rejects.toMatchObject({ code: "aborted" });
  expect(thirdRan).toBe(false);
  release?.();
  await Promise.all([first, third]);
  expect(thirdRan).toBe(true);
});

test("a failure frees the lock", async () => {
  const lock = createLock();
  await expect(lock.run("a", async () => await Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await lock.run("b", async () => await Promise.resolve(1))).toBe(1);
});
