import { AbortedError } from "../errors/index.ts";
import { createDeferred } from "./deferred.ts";
import { onAbort } from "./on-abort.ts";

/**
 * Waits no longer than the signal allows for work that goes on without us; throws `AbortedError` when it comes first.
 * `what` is what we wait for, as in "waiting for the sandbox's agent".
 */
export async function untilAborted<T>(
  promise: Promise<T>,
  what: string,
  signal: AbortSignal | undefined,
): Promise<T> {
  const given = createDeferred<never>();
  const stop = onAbort(signal, (reason) => given.reject(new AbortedError(what, reason)));
  try {
    return await Promise.race([given.promise, promise]);
  } finally {
    stop();
  }
}
