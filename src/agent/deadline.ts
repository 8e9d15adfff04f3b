import { AbortedError } from "../errors/index.ts";
import { deferred } from "../core/deferred.ts";
import { CallTimeoutError } from "./errors.ts";
import type { CallOptions } from "./types.ts";

/**
 * Waits for `work`, but no longer than the call's deadline, and not after its signal. `work` gets a signal that is
 * aborted, with the error as its reason, when nobody waits any more.
 */
export async function withDeadline<T>(
  what: string,
  options: CallOptions,
  defaultTimeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { signal, timeoutMs = defaultTimeoutMs } = options;
  if (signal?.aborted === true) throw new AbortedError(what, signal.reason);
  const controller = new AbortController();
  const given = deferred<never>();
  given.promise.catch(() => {});
  const end = (error: Error) => {
    controller.abort(error);
    given.reject(error);
  };
  const aborted = () => end(new AbortedError(what, signal?.reason));
  const timer = setTimeout(() => end(new CallTimeoutError(what, timeoutMs)), clampTimer(timeoutMs));
  signal?.addEventListener("abort", aborted, { once: true });
  try {
    return await Promise.race([work(controller.signal), given.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", aborted);
  }
}

/** Longer timers would fire at once. */
function clampTimer(ms: number): number {
  return Math.min(ms, 0x7fff_ffff);
}
