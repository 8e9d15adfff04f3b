/** Listening to a signal that many calls share, with one listener: Node warns of more than ten. */

const listenersOf = new WeakMap<AbortSignal, Set<(reason: unknown) => void>>();

/** Calls `listener` once when the signal aborts, which it must not have done yet. Returns how to stop. */
export function onAbort(signal: AbortSignal | undefined, listener: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => undefined;
  const listeners = listenersOf.get(signal) ?? listenTo(signal);
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

function listenTo(signal: AbortSignal): Set<(reason: unknown) => void> {
  const listeners = new Set<(reason: unknown) => void>();
  listenersOf.set(signal, listeners);
  signal.addEventListener(
    "abort",
    () => {
      listenersOf.delete(signal);
      for (const listener of listeners) listener(signal.reason);
      listeners.clear();
    },
    { once: true },
  );
  return listeners;
}
