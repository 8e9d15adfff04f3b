import { AbortedError, type HeyvmError } from "../errors/index.ts";
import { createDeferred } from "./deferred.ts";
import { onAbort } from "./on-abort.ts";

/** Options of every call: it ends with the signal, or after `timeoutMs` (each call has a default). */
export interface CallOptions {
  signal?: AbortSignal | undefined;
  timeoutMs?: number | undefined;
}

/** How long a call may take when its options don't say, and what it throws when it has taken longer. */
export interface TimeLimit {
  defaultMs: number;
  TimeoutError: new (what: string, timeoutMs: number) => HeyvmError;
}

/** A signal that ends with the caller's or at the deadline; `[Symbol.dispose]` takes the timer away. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** Why the signal is aborted; it is the signal's reason, too. */
  error(): HeyvmError;
  /** From now on only the caller's signal counts. */
  lift(): void;
}

/** Longer timers would fire at once (Node's `TIMEOUT_MAX`). */
const longestTimerMs = 2 ** 31 - 1;

/** `what` names the work in the error: `GET /sandboxes`. `Infinity` means the caller's signal alone. */
export function startDeadline(what: string, options: CallOptions, limit: TimeLimit): Deadline {
  const timeoutMs = options.timeoutMs ?? limit.defaultMs;
  const controller = new AbortController();
  let error: HeyvmError | undefined;
  const end = (reason: HeyvmError): void => {
    error ??= reason;
    controller.abort(error);
  };
  const stop = onAbort(options.signal, (reason) => end(new AbortedError(what, reason)));
  const timer = Number.isFinite(timeoutMs)
    ? setTimeout(() => end(new limit.TimeoutError(what, timeoutMs)), Math.min(timeoutMs, longestTimerMs))
    : undefined;
  return {
    signal: controller.signal,
    error: () => error ?? new AbortedError(what),
    lift: () => clearTimeout(timer),
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      stop();
    },
  };
}

/**
 * Aborts after this long, as `AbortSignal.timeout` does, also where `AbortSignal.any` made another one of it: that holds its
 * sources weakly, and Node 20 forgets a timeout that nobody else holds. One with a listener of its own is kept until it fires.
 */
export function timeoutSignal(timeoutMs: number): AbortSignal {
  const signal = AbortSignal.timeout(timeoutMs);
  signal.addEventListener("abort", () => undefined, { once: true });
  return signal;
}

/**
 * Waits for `work` until the deadline or the caller's signal. `work`, which is not begun when that has come already, gets a
 * signal that is aborted, with the error as its reason, when nobody waits any more.
 */
export async function withDeadline<T>(
  what: string,
  options: CallOptions,
  limit: TimeLimit,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  using deadline = startDeadline(what, options, limit);
  const { signal } = deadline;
  if (signal.aborted) throw deadline.error();
  const given = createDeferred<never>();
  const stop = onAbort(signal, given.reject);
  try {
    return await Promise.race([given.promise, work(signal)]);
  } finally {
    stop();
  }
}
