import { AbortedError } from "../errors/index.ts";

/** Waits no longer than its signal allows for work that others wait for, too, and that goes on. */
export function untilAborted<T>(promise: Promise<T>, what: string, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(new AbortedError(what, signal.reason));
    signal.addEventListener("abort", leave, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
    if (signal.aborted) leave();
  });
}
