/** Timers for the moments at which sandboxes end. The moments themselves are in the records. */

/** The longest that a timer of Node can wait; a later deadline is armed in stages. */
const longestTimerMs = 2 ** 31 - 1;

export interface Deadlines {
  /** Calls `onExpired` at the moment, at once when it has passed. Replaces the sandbox's earlier deadline. */
  arm(id: string, atMs: number): void;
  disarm(id: string): void;
  /** Whether any deadline is still to come. */
  readonly pending: number;
  /** No deadline is armed any more, either. */
  close(): void;
}

export function createDeadlines(onExpired: (id: string) => void): Deadlines {
  const timers = new Map<string, NodeJS.Timeout>();
  let closed = false;
  const disarm = (id: string): void => {
    clearTimeout(timers.get(id));
    timers.delete(id);
  };
  const arm = (id: string, atMs: number): void => {
    disarm(id);
    // What is still under way may fail and want another try: the next daemon's.
    if (closed) return;
    const leftMs = Math.max(0, atMs - Date.now());
    const timer = setTimeout(
      () => {
        if (leftMs > longestTimerMs) {
          arm(id, atMs);
        } else {
          timers.delete(id);
          onExpired(id);
        }
      },
      Math.min(leftMs, longestTimerMs),
    );
    timers.set(id, timer);
  };
  return {
    arm,
    disarm,
    get pending() {
      return timers.size;
    },
    close() {
      closed = true;
      for (const id of timers.keys()) disarm(id);
    },
  };
}
