/** One at a time, in the order of asking: who works on the same thing waits for a turn. */
import { createDeferred } from "./deferred.ts";
import { untilAborted } from "./until-aborted.ts";

/** The turns at one thing. */
export interface Lock {
  /** Whether somebody works or waits. */
  readonly isTaken: boolean;
  /** Waits for its turn (not longer than the signal), then runs `work` while nobody else does. */
  run<T>(what: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

/** The turns at many things, each under its key; other keys do not wait. */
export interface KeyedLock {
  isTaken(key: string): boolean;
  run<T>(key: string, what: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

export function createLock(): Lock {
  let last: Promise<void> = Promise.resolve();
  let inRow = 0;
  return {
    get isTaken() {
      return inRow > 0;
    },
    async run(what, work, signal) {
      const before = last;
      const own = createDeferred<void>();
      // Who gives up waiting leaves the row: those behind wait for the one before.
      last = before.then(() => own.promise);
      inRow += 1;
      try {
        await untilAborted(before, what, signal);
        return await work();
      } finally {
        inRow -= 1;
        own.resolve();
      }
    },
  };
}

export function createKeyedLock(): KeyedLock {
  const locks = new Map<string, Lock>();
  return {
    isTaken: (key) => locks.has(key),
    async run(key, what, work, signal) {
      const lock = locks.get(key) ?? createLock();
      locks.set(key, lock);
      try {
        return await lock.run(what, work, signal);
      } finally {
        // Another may have forgotten this one already, and a third have begun anew.
        if (!lock.isTaken && locks.get(key) === lock) locks.delete(key);
      }
    },
  };
}
