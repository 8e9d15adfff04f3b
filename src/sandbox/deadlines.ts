/** Timers for the moments at which sandboxes end. The moments themselves are in the records. */

/**
 * A timer does not run while the host sleeps, and knows nothing of a clock that is set: so the clock is looked at again after
 * this long.
 */
const longestTimerMs = 30_000;

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
    const look = (): void => {
      if (Date.now() < atMs) {
        arm(id, atMs);
      } else {
        timers.delete(id);
        onExpired(id);
      }
    };
    const leftMs = Math.max(0, atMs - Date.now());
    timers.set(id, setTimeout(look, Math.min(leftMs, longestTimerMs)));
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
