/** Work that several callers want at once and that is done once. */
import { AbortedError } from "../../errors/index.ts";
import type { MachineContext, MachineStep } from "../backend.ts";

interface Running<T> {
  result: Promise<T>;
  abort: AbortController;
  listeners: Set<(step: MachineStep) => void>;
  /** Told to those who come later. */
  lastStep: MachineStep | undefined;
}

export interface SharedWork<T> {
  /** Joins the work for `key`, or starts it. It is cancelled when everyone who wanted it has gone. */
  run(key: string, context: MachineContext, work: (context: MachineContext) => Promise<T>): Promise<T>;
}

function noop(): void {}

/** Each key's work runs once at a time; what comes out is not remembered. */
export function createSharedWork<T>(): SharedWork<T> {
  const byKey = new Map<string, Running<T>>();

  function start(key: string, work: (context: MachineContext) => Promise<T>): Running<T> {
    const abort = new AbortController();
    const listeners = new Set<(step: MachineStep) => void>();
    const running: Running<T> = { abort, listeners, lastStep: undefined, result: begin() };
    async function begin(): Promise<T> {
      // Lets `running` be complete before the work reports its first step.
      await Promise.resolve();
      try {
        return await work({
          signal: abort.signal,
          onStep: (step) => {
            running.lastStep = step;
            for (const listener of listeners) listener(step);
          },
        });
      } finally {
        if (byKey.get(key) === running) byKey.delete(key);
      }
    }
    running.result.catch(() => undefined);
    byKey.set(key, running);
    return running;
  }

  return {
    async run(key, { signal, onStep }, work) {
      let running = byKey.get(key);
      while (running !== undefined && running.abort.signal.aborted) {
        // Given up by others and cleaning up after itself: afterwards we begin anew.
        await running.result.catch(() => undefined);
        running = byKey.get(key);
      }
      if (signal.aborted) throw new AbortedError("the preparation", signal.reason);
      running ??= start(key, work);
      const joined = running;
      const listener = (step: MachineStep) => onStep(step);
      if (joined.lastStep !== undefined) listener(joined.lastStep);
      joined.listeners.add(listener);
      let leave: () => void = noop;
      try {
        return await new Promise<T>((resolve, reject) => {
          leave = () => reject(new AbortedError("the preparation", signal.reason));
          signal.addEventListener("abort", leave, { once: true });
          joined.result.then(resolve, reject);
        });
      } finally {
        signal.removeEventListener("abort", leave);
        joined.listeners.delete(listener);
        if (joined.listeners.size === 0 && byKey.get(key) === joined) {
          joined.abort.abort(signal.reason);
          // The one who leaves last waits for the clean-up, so that nothing is left when it is told.
          await joined.result.catch(() => undefined);
        }
      }
    },
  };
}
