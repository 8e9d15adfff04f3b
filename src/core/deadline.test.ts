import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { describe, expect, test } from "vitest";

import { HeyvmError } from "../errors/index.ts";
import { startDeadline, timeoutSignal, withDeadline } from "./deadline.ts";
import { createDeferred } from "./deferred.ts";

class LateError extends HeyvmError {
  constructor(what: string, timeoutMs: number) {
    super("timeout", `${what} took ${timeoutMs} ms`);
  }
}

const limit = { defaultMs: 60_000, TimeoutError: LateError };
const forever = createDeferred<never>().promise;

describe("a deadline", () => {
  test("ends with the caller's signal, once, and says why", () => {
    const caller = new AbortController();
    using deadline = startDeadline("asking", { signal: caller.signal }, limit);
    expect(deadline.signal.aborted).toBe(false);
    caller.abort("enough");
    expect(deadline.signal.reason).toBe(deadline.error());
    expect(deadline.error()).toMatchObject({ code: "aborted", message: expect.stringContaining("asking") });
  });

  test("that was lifted ends with the signal alone", async () => {
    const caller = new AbortController();
    using deadline = startDeadline("asking", { signal: caller.signal, timeoutMs: 5 }, limit);
    deadline.lift();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(deadline.signal.aborted).toBe(false);
    caller.abort();
    expect(deadline.signal.aborted).toBe(true);
  });

  test("of a month, or none, has not passed", async () => {
    using month = startDeadline("asking", { timeoutMs: 30 * 86_400_000 }, limit);
    using none = startDeadline("asking", { timeoutMs: Number.POSITIVE_INFINITY }, limit);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([month.signal.aborted, none.signal.aborted]).toEqual([false, false]);
  });
});

describe("work with a deadline", () => {
  test("that takes longer is given up, and its signal says why", async () => {
    let given: AbortSignal | undefined;
    const late = withDeadline("asking", { timeoutMs: 5 }, limit, async (signal) => {
      given = signal;
      return await forever;
    });
    await expect(late).rejects.toThrow(new LateError("asking", 5));
    expect(given?.reason).toBeInstanceOf(LateError);
  });

  test("whose caller has gone is not begun, and what it throws later bothers nobody", async () => {
    let begun = false;
    const work = async (): Promise<void> => {
      begun = true;
      await Promise.resolve();
    };
    const signal = AbortSignal.abort();
    await expect(withDeadline("asking", { signal }, limit, work)).rejects.toMatchObject({ code: "aborted" });
    expect(begun).toBe(false);

    const late = createDeferred<never>();
    const given = withDeadline("asking", { timeoutMs: 5 }, limit, async () => await late.promise);
    await expect(given).rejects.toBeInstanceOf(LateError);
    late.reject(new Error("too late"));
    await new Promise((resolve) => setImmediate(resolve));
  });
});

test("a timeout comes also when it is one of several signals and memory was tidied up meanwhile", async () => {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect !== "function") throw new Error("V8 has no gc");
  const heard: string[] = [];
  const until = (name: string, timeout: AbortSignal): void => {
    AbortSignal.any([new AbortController().signal, timeout]).addEventListener("abort", () =>
      heard.push(name),
    );
  };
  until("one", timeoutSignal(200));
  until("nested", AbortSignal.any([timeoutSignal(200), new AbortController().signal]));
  const looking = setInterval(() => collect(), 20);
  await expect.poll(() => heard.toSorted()).toEqual(["nested", "one"]);
  clearInterval(looking);
});
