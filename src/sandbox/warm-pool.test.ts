import { expect, onTestFinished, test } from "vitest";

import { createWarmPool, type WarmPool } from "./warm-pool.ts";

interface Machine {
  id: string;
  kind: string;
}

interface Rig {
  pool: WarmPool<Machine>;
  made: string[];
  removed: string[];
  /** How long it waits after each. */
  failures: number[];
  shutdown: AbortController;
}

function rig(size: number, make?: (count: number, signal: AbortSignal) => Promise<void>): Rig {
  const shutdown = new AbortController();
  const made: string[] = [];
  const removed: string[] = [];
  const failures: number[] = [];
  const pool = createWarmPool<Machine>({
    size,
    signal: shutdown.signal,
    restMs: 1,
    async make(signal) {
      const id = `m${made.length + 1}`;
      made.push(id);
      await make?.(made.length, signal);
      return { id, kind: "usual" };
    },
    async remove({ id }) {
      removed.push(id);
      await Promise.resolve();
    },
    onFailure: (_error, retryMs) => failures.push(retryMs),
  });
  onTestFinished(async () => {
    shutdown.abort();
    await pool.close();
  });
  return { pool, made, removed, failures, shutdown };
}

const anyMachine = (): boolean => true;

/** The next that waits, when there is one. */
async function nextOf(pool: WarmPool<Machine>): Promise<Machine> {
  await expect.poll(() => pool.find(anyMachine)).toBeDefined();
  const found = pool.find(anyMachine);
  if (found === undefined) throw new Error("none waits");
  return found;
}

test("as many as were asked for wait, and no more are made", async () => {
  const { pool, made } = rig(2);
  pool.start();
  await expect.poll(() => pool.ready).toBe(2);
  expect(made).toEqual(["m1", "m2"]);
});

test("a pool of none makes none", () => {
  const { pool, made } = rig(0);
  pool.start();
  expect(pool.find(anyMachine)).toBe(undefined);
  expect(made).toEqual([]);
});

test("one that is claimed is nobody else's, and another is made behind", async () => {
  const { pool, made, removed } = rig(1);
  pool.start();
  const machine = await nextOf(pool);
  const used = await pool.claim(machine, async () => {
    expect(pool.find(anyMachine)).toBe(undefined);
    return await Promise.resolve("used");
  });
  expect(used).toBe("used");
  expect((await nextOf(pool)).id).toBe("m2");
  expect({ made, removed }).toEqual({ made: ["m1", "m2"], removed: [] });
});

test("only one that fits is found", async () => {
  const { pool } = rig(1);
  pool.start();
  await nextOf(pool);
  expect(pool.find(({ kind }) => kind === "other")).toBe(undefined);
});

test("one that proves to be of no use is removed", async () => {
  const { pool, removed } = rig(1);
  pool.start();
  const used = await pool.claim(await nextOf(pool), async () => await Promise.resolve(undefined));
  expect(used).toBe(undefined);
  await expect.poll(() => removed).toEqual(["m1"]);
});

test("what ends while it waits is removed; what is lost after its claim is its owner's", async () => {
  const { pool, removed } = rig(2);
  pool.start();
  await expect.poll(() => pool.ready).toBe(2);
  const claimed = await nextOf(pool);
  await pool.claim(claimed, async () => await Promise.resolve("used"));
  pool.lose(claimed.id);
  const lost = await nextOf(pool);
  pool.lose(lost.id);
  await expect.poll(() => removed).toEqual([lost.id]);
});

test("none is begun while somebody waits for a create", async () => {
  const { pool, made } = rig(1);
  const hold = pool.hold();
  const other = pool.hold();
  pool.start();
  other[Symbol.dispose]();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(made).toEqual([]);
  hold[Symbol.dispose]();
  await nextOf(pool);
});

test("a failure is told, and the next try comes later", async () => {
  const { pool, failures } = rig(1, async () => await Promise.reject(new Error("no space")));
  pool.start();
  await expect.poll(() => failures[0]).toBeGreaterThanOrEqual(1000);
  expect(pool.ready).toBe(0);
});

test("a close removes all that wait, and what is being made", async () => {
  let finish: (() => void) | undefined;
  const { pool, removed, shutdown } = rig(2, async (count) => {
    if (count === 2) await new Promise<void>((resolve) => (finish = resolve));
  });
  pool.start();
  await expect.poll(() => finish).toBeDefined();
  expect(pool.ready).toBe(1);
  shutdown.abort();
  finish?.();
  await pool.close();
  expect(removed.toSorted()).toEqual(["m1", "m2"]);
  expect(pool.find(anyMachine)).toBe(undefined);
});
