/** One at a time: work on the same thing waits for its turn. */
import { AbortedError } from "../../errors/index.ts";

export interface Turns {
  /** Whether somebody has the turn for `key` or waits for it. */
  isTaken(key: string): boolean;
  /** Runs the work when all who came before are done, however they ended. Gives up waiting with the signal. */
  run<T>(key: string, what: string, signal: AbortSignal, work: () => Promise<T>): Promise<T>;
}

function noop(): void {}

export function createTurns(): Turns {
  /** The end of the last one in the row. */
  const last = new Map<string, Promise<void>>();

  return {
    isTaken: (key) => last.has(key),
    async run(key, what, signal, work) {
      const before = last.get(key) ?? Promise.resolve();
      let end: () => void = noop;
      const own = new Promise<void>((resolve) => (end = resolve));
      // Who gives up waiting leaves the row: those behind wait for the one before.
      const mine = Promise.all([before, own]).then(noop);
      last.set(key, mine);
      try {
        await untilSettled(before, what, signal);
        return await work();
      } finally {
        end();
        const forget = () => last.get(key) === mine && last.delete(key);
        void mine.then(forget);
      }
    },
  };
}

async function untilSettled(before: Promise<void>, what: string, signal: AbortSignal): Promise<void> {
  let giveUp: () => void = noop;
  const given = new Promise<never>((_, reject) => {
    giveUp = () => reject(new AbortedError(what, signal.reason));
  });
  signal.addEventListener("abort", giveUp, { once: true });
  try {
    if (signal.aborted) giveUp();
    await Promise.race([before, given]);
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}
