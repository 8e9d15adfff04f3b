import { AbortedError } from "../errors/index.ts";

/** Lets one piece of work on a thing run at a time, in the order of asking. */
export interface Lock {
  /** Waits for its turn (not longer than the signal), then runs `work` while nobody else does. */
  run<T>(what: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

export function createLock(): Lock {
  let last: Promise<void> = Promise.resolve();
  return {
    async run(what, work, signal) {
      const turn = last;
      const { promise: done, resolve: release } = deferred();
      last = done;
      try {
        await untilTurn(turn, what, signal);
      } catch (error) {
        // Whoever waits behind us still waits for those before us.
        void turn.then(release);
        throw error;
      }
      try {
        return await work();
      } finally {
        release();
      }
    },
  };
}

async function untilTurn(turn: Promise<void>, what: string, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return await turn;
  if (signal.aborted) throw new AbortedError(what, signal.reason);
  const { promise: aborted, reject } = deferred();
  const onAbort = (): void => reject(new AbortedError(what, signal.reason));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([turn, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } {
  let resolve: () => void = nothing;
  let reject: (error: Error) => void = nothing;
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

function nothing(): void {}
