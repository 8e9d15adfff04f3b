/** Work that several callers in this process want at once and that is done once. */
import { AbortedError } from "../errors/index.ts";
import { untilAborted } from "./until-aborted.ts";

/** One who wants the result. */
export interface Caller<News> {
  signal: AbortSignal;
  /** Told how far the work is; one who comes later is told the last at once. */
  onNews: (news: News) => void;
}

/** The work ends with its signal, when everyone who wanted it has gone. */
export type Work<T, News> = (signal: AbortSignal, tell: (news: News) => void) => Promise<T>;

export interface SharedWork<T, News> {
  /** Joins the work for `key`, or starts it. */
  run(key: string, caller: Caller<News>, work: Work<T, News>): Promise<T>;
}

interface Running<T, News> {
  result: Promise<T>;
  abort: AbortController;
  listeners: Set<(news: News) => void>;
  last: { news: News } | undefined;
}

/** Each key's work runs once at a time; what comes out is not remembered. `what` it is, for the error of who leaves. */
export function createSharedWork<T, News>(what: string): SharedWork<T, News> {
  const byKey = new Map<string, Running<T, News>>();
  return {
    async run(key, caller, work) {
      for (;;) {
        if (caller.signal.aborted) throw new AbortedError(what, caller.signal.reason);
        const running = byKey.get(key) ?? start(byKey, key, work);
        if (!running.abort.signal.aborted) return await join(running, caller, what);
        // Given up by others and cleaning up after itself: afterwards we begin anew.
        await running.result.catch(() => undefined);
      }
    },
  };
}

function start<T, News>(
  byKey: Map<string, Running<T, News>>,
  key: string,
  work: Work<T, News>,
): Running<T, News> {
  const abort = new AbortController();
  const listeners = new Set<(news: News) => void>();
  const begin = async (): Promise<T> => {
    // Lets `running` be complete before the work reports first.
    await Promise.resolve();
    try {
      return await work(abort.signal, (news) => {
        running.last = { news };
        for (const listener of listeners) listener(news);
      });
    } finally {
      byKey.delete(key);
    }
  };
  const running: Running<T, News> = { abort, listeners, last: undefined, result: begin() };
  running.result.catch(() => undefined);
  byKey.set(key, running);
  return running;
}

async function join<T, News>(
  running: Running<T, News>,
  { signal, onNews }: Caller<News>,
  what: string,
): Promise<T> {
  // A function of its own, should one caller join twice with the same.
  const listener = (news: News): void => onNews(news);
  if (running.last !== undefined) listener(running.last.news);
  running.listeners.add(listener);
  try {
    return await untilAborted(running.result, what, signal);
  } finally {
    running.listeners.delete(listener);
    if (running.listeners.size === 0) {
      running.abort.abort(signal.reason);
      // The one who leaves last waits for the clean-up, so that nothing is left when it is told.
      await running.result.catch(() => undefined);
    }
  }
}
