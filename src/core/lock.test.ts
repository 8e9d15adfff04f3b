import { describe, expect, test } from "vitest";

import { createDeferred } from "./deferred.ts";
import { createKeyedLock, createLock } from "./lock.ts";

describe("a lock", () => {
  test("lets work run one at a time, in the order of asking", async () => {
    const lock = createLock();
    const events: string[] = [];
    const work = (name: string) => async (): Promise<void> => {
      events.push(`${name} begins`);
      await Promise.resolve();
      events.push(`${name} ends`);
    };
    await Promise.all(["a", "b", "c"].map(async (name) => await lock.run(name, work(name))));
    expect(events).toEqual(["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
  });

  test("lets the others pass when one gives up waiting, and not before their turn", async () => {
    const lock = createLock();
    const hold = createDeferred<void>();
    const first = lock.run("first", async () => await hold.promise);
    const giveUp = new AbortController();
    const second = lock.run("the second", async () => await Promise.resolve(), giveUp.signal);
    let thirdRan = false;
    const third = lock.run("third", async () => {
      thirdRan = true;
      await Promise.resolve();
    });
    giveUp.abort();
    await expect(second).rejects.toMatchObject({
      code: "aborted",
      message: expect.stringContaining("the second"),
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(thirdRan).toBe(false);
    hold.resolve();
    await Promise.all([first, third]);
    expect(thirdRan).toBe(true);
  });

  test("runs nothing for who comes with a signal that has ended", async () => {
    const lock = createLock();
    let ran = false;
    const work = async (): Promise<void> => {
      ran = true;
      await Promise.resolve();
    };
    await expect(lock.run("x", work, AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
    expect(ran).toBe(false);
  });

  test("is free after a failure", async () => {
    const lock = createLock();
    const failing = lock.run("a", async () => await Promise.reject(new Error("no")));
    expect(lock.isTaken).toBe(true);
    await expect(failing).rejects.toThrow("no");
    expect(lock.isTaken).toBe(false);
    expect(await lock.run("b", async () => await Promise.resolve(1))).toBe(1);
  });
});

describe("a keyed lock", () => {
  test("has no key wait for another, and forgets those that nobody has", async () => {
    const locks = createKeyedLock();
    const hold = createDeferred<void>();
    const seen: string[] = [];
    const note = (name: string) => async (): Promise<void> => void seen.push(await Promise.resolve(name));
    const first = locks.run("a", "first", async () => await hold.promise);
    const second = locks.run("a", "second", note("second"));
    await locks.run("b", "other", note("other"));
    expect(seen).toEqual(["other"]);
    expect(locks.isTaken("a")).toBe(true);
    expect(locks.isTaken("b")).toBe(false);
    hold.resolve();
    await Promise.all([first, second]);
    expect(seen).toEqual(["other", "second"]);
    expect(locks.isTaken("a")).toBe(false);
  });
});
