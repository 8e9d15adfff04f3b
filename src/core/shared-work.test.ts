import { expect, test } from "vitest";

import { createSharedWork } from "./shared-work.ts";

const caller = (signal = new AbortController().signal, seen: string[] = []) => ({
  signal,
  onNews: (news: string) => void seen.push(news),
});

const ignore = (): void => undefined;
const fail = () => Promise.reject(new Error("broken"));

test("many who want the same get one piece of work and its result", async () => {
  const shared = createSharedWork<number, string>("the work");
  let runs = 0;
  const work = async () => {
    runs += 1;
    await Promise.resolve();
    return 7;
  };
  const results = await Promise.all(Array.from({ length: 20 }, () => shared.run("k", caller(), work)));
  expect(new Set(results)).toEqual(new Set([7]));
  expect(runs).toBe(1);
});

test("one who leaves does not end the work of the others", async () => {
  const shared = createSharedWork<string, string>("the work");
  let finish: (value: string) => void = ignore;
  const work = () => new Promise<string>((resolve) => (finish = resolve));
  const leaver = new AbortController();
  const left = shared.run("k", caller(leaver.signal), work);
  const stays = shared.run("k", caller(), work);
  await Promise.resolve();
  leaver.abort();
  await expect(left).rejects.toMatchObject({ code: "aborted" });
  finish("done");
  expect(await stays).toBe("done");
});

test("when all have left the work is cancelled, and the last one waits for its clean-up", async () => {
  const shared = createSharedWork<string, string>("the work");
  let cleaned = false;
  const leaver = new AbortController();
  const left = shared.run("k", caller(leaver.signal), async (signal) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    await new Promise((resolve) => setTimeout(resolve, 20));
    cleaned = true;
    throw signal.reason;
  });
  setTimeout(() => leaver.abort(), 10);
  await expect(left).rejects.toMatchObject({ code: "aborted" });
  expect(cleaned).toBe(true);
});

test("a failure reaches everyone, and the next caller tries again", async () => {
  const shared = createSharedWork<string, string>("the work");
  const both = await Promise.allSettled([shared.run("k", caller(), fail), shared.run("k", caller(), fail)]);
  expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(await shared.run("k", caller(), () => Promise.resolve("fine"))).toBe("fine");
});

test("who comes late is told how far the work is", async () => {
  const shared = createSharedWork<string, string>("the work");
  let finish: (value: string) => void = ignore;
  const first = shared.run("k", caller(), (_signal, tell) => {
    tell("half");
    return new Promise((resolve) => (finish = resolve));
  });
  await new Promise((resolve) => setImmediate(resolve));
  const seen: string[] = [];
  const second = shared.run("k", caller(undefined, seen), () => Promise.resolve("never"));
  await new Promise((resolve) => setImmediate(resolve));
  finish("x");
  expect(await Promise.all([first, second])).toEqual(["x", "x"]);
  expect(seen).toEqual(["half"]);
});
