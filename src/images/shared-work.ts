/** Work that several callers in this process want at once and that is done once. */
import { AbortedError } from "../errors/index.ts";
import type { ImageProgress, ImageWork } from "./types.ts";

interface Running<T> {
  result: Promise<T>;
  abort: AbortController;
  listeners: Set<(progress: ImageProgress) => void>;
  /** Told to those who come later. */
  last: ImageProgress | undefined;
}

export interface SharedWork<T> {
  /** Joins the work for `key`, or starts it. It is cancelled when everyone who wanted it has gone. */
  run(key: string, caller: ImageWork, work: (shared: Required<ImageWork>) => Promise<T>): Promise<T>;
}

type Work<T> = (shared: Required<ImageWork>) => Promise<T>;

/** Each key's work runs once at a time; what comes out is not remembered. */
export function createSharedWork<T>(): SharedWork<T> {
  const byKey = new Map<string, Running<T>>();
  return {
    async run(key, caller, work) {
      for (;;) {
        if (caller.signal.aborted) throw new AbortedError("the download", caller.signal.reason);
        const running = byKey.get(key) ?? start(byKey, key, work);
        if (!running.abort.signal.aborted) return await join(running, caller);
        // Given up by others and cleaning up after itself: afterwards we begin anew.
        await running.result.catch(() => undefined);
      }
    },
  };
}

function start<T>(byKey: Map<string, Running<T>>, key: string, work: Work<T>): Running<T> {
  const abort = new AbortController();
  const listeners = new Set<(progress: ImageProgress) => void>();
  const begin = async (): Promise<T> => {
    // Lets `running` be complete before the work reports first.
    await Promise.resolve();
    try {
      return await work({
        signal: abort.signal,
        onProgress: (progress) => {
          running.last = progress;
          for (const listener of listeners) listener(progress);
        },
      });
    } finally {
      byKey.delete(key);
    }
  };
  const running: Running<T> = { abort, listeners, last: undefined, result: begin() };
  running.result.catch(() => undefined);
  byKey.set(key, running);
  return running;
}

async function join<T>(running: Running<T>, { signal, onProgress }: ImageWork): Promise<T> {
  const listener = (progress: ImageProgress): void => onProgress?.(progress);
  if (running.last !== undefined) listener(running.last);
  running.listeners.add(listener);
  let leave: () => void = nothing;
  try {
    return await new Promise<T>((resolve, reject) => {
      leave = () => reject(new AbortedError("the download", signal.reason));
      signal.addEventListener("abort", leave, { once: true });
      running.result.then(resolve, reject);
    });
  } finally {
    signal.removeEventListener("abort", leave);
    running.listeners.delete(listener);
    if (running.listeners.size === 0) {
      running.abort.abort(signal.reason);
      // The one who leaves last waits for the clean-up, so that nothing is left when it is told.
      await running.result.catch(() => undefined);
    }
  }
}

function nothing(): void {}
