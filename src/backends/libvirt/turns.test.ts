import { expect, test } from "vitest";

import { createTurns } from "./turns.ts";

const { signal } = new AbortController();

function noop(): void {}

function gate(): { opened: Promise<void>; open: () => void } {
  let open: () => void = noop;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

test("work on one key runs in the order of arrival, never two at a time, and other keys do not wait", async () => {
  const turns = createTurns();
  const seen: string[] = [];
  const first = gate();
  const work = (name: string, until: Promise<void> = Promise.resolve()) =>
    turns.run("a", name, signal, async () => {
      seen.push(`${name} begins`);
      await until;
      seen.push(`${name} ends`);
    });
  const all = [work("one", first.opened), work("two"), work("three")];
  await turns.run("b", "other", signal, async () => void seen.push("other"));
  first.open();
  await Promise.all(all);
  expect(seen.indexOf("other")).toBeLessThan(seen.indexOf("one ends"));
  expect(seen.filter((text) => text !== "other")).toEqual([
    "one begins",
    "one ends",
    "two begins",
    "two ends",
    "three begins",
    "three ends",
  ]);
});

test("one who fails lets the next begin, and the row is forgotten when it is empty", async () => {
  const turns = createTurns();
  const failed = turns.run("a", "x", signal, () => Promise.reject(new Error("broken")));
  expect(turns.isTaken("a")).toBe(true);
  const next = turns.run("a", "x", signal, () => Promise.resolve(7));
  await expect(failed).rejects.toThrow("broken");
  expect(await next).toBe(7);
  await new Promise((resolve) => setImmediate(resolve));
  expect(turns.isTaken("a")).toBe(false);
});

test("one who gives up waiting says what for, and those behind still wait for the one before", async () => {
  const turns = createTurns();
  const first = gate();
  const abort = new AbortController();
  let thirdRuns = false;
  const one = turns.run("a", "one", signal, () => first.opened);
  const two = turns.run("a", "the second", abort.signal, () => Promise.resolve());
  const three = turns.run("a", "three", signal, async () => void (thirdRuns = true));
  abort.abort();
  await expect(two).rejects.toMatchObject({
    code: "aborted",
    message: expect.stringContaining("the second"),
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(thirdRuns).toBe(false);
  first.open();
  await Promise.all([one, three]);
  expect(thirdRuns).toBe(true);
});
