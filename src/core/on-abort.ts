/** Listening to a signal that many share, with one listener: Node warns of more than ten. */

interface Shared {
  readonly listeners: Set<(reason: unknown) => void>;
  readonly tell: () => void;
}

const sharedOf = new WeakMap<AbortSignal, Shared>();

/** Calls `listener`, which must not throw, once when the signal aborts, at once when it has. Returns how to stop. */
export function onAbort(signal: AbortSignal | undefined, listener: (reason: unknown) => void): () => void {
  if (signal?.aborted === true) listener(signal.reason);
  if (signal === undefined || signal.aborted) return () => undefined;
  const shared = sharedOf.get(signal) ?? share(signal);
  shared.listeners.add(listener);
  return () => {
    if (!shared.listeners.delete(listener) || shared.listeners.size > 0) return;
    // Node keeps a signal with a listener (one of `AbortSignal.any`, say) for as long as it has not aborted.
    sharedOf.delete(signal);
    signal.removeEventListener("abort", shared.tell);
  };
}

function share(signal: AbortSignal): Shared {
  const listeners = new Set<(reason: unknown) => void>();
  const tell = (): void => {
    sharedOf.delete(signal);
    for (const listener of listeners) {
      listeners.delete(listener);
      listener(signal.reason);
    }
  };
  const shared = { listeners, tell };
  sharedOf.set(signal, shared);
  signal.addEventListener("abort", tell, { once: true });
  return shared;
}
