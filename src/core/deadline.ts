import { AbortedError } from "../errors/index.ts";
import { ClientTimeoutError } from "../sdk/client-errors.ts";

/** Options of every call: it ends with the signal, or after `timeoutMs` (each call has a default). */
export interface CallOptions {
  signal?: AbortSignal | undefined;
  timeoutMs?: number | undefined;
}

/** A signal that ends with the caller's or at the deadline; `[Symbol.dispose]` takes the timer away. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** The reason as a typed error, once the signal is aborted. */
  error(): AbortedError | ClientTimeoutError;
  /** From now on only the caller's signal counts. */
  lift(): void;
}

/** `what` names the work in the error: `GET /sandboxes`. `Infinity` means the caller's signal alone. */
export function startDeadline(what: string, options: CallOptions, defaultTimeoutMs: number): Deadline {
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const controller = new AbortController();
  let reason: AbortedError | ClientTimeoutError | undefined;
  const end = (error: AbortedError | ClientTimeoutError): void => {
    reason ??= error;
    controller.abort(reason);
  };
  const onAbort = (): void => end(new AbortedError(what, options.signal?.reason));
  if (options.signal?.aborted === true) onAbort();
  options.signal?.addEventListener("abort", onAbort, { once: true });
  const timer = Number.isFinite(timeoutMs)
    ? setTimeout(() => end(new ClientTimeoutError(what, timeoutMs)), timeoutMs)
    : undefined;
  return {
    signal: controller.signal,
    error: () => reason ?? new AbortedError(what),
    lift: () => clearTimeout(timer),
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", onAbort);
    },
  };
}
