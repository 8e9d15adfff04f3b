/** Timers for the moments at which sandboxes end. The moments themselves are in the records. */

/**
 * A timer does not run while the host sleeps, and knows nothing of a clock that is set: so the clock is looked at again after
 * this long.
 */
const longestTimerMs = 30_000;
/** For what kept a sandbox from being removed to pass: libvirt is away, most likely. */
const retryMs = 60_000;

export interface Deadlines {
  /** Calls `onExpired` at the moment, at once when it has passed. Replaces the sandbox's earlier deadline. */
  arm(id: string, atMs: number): void;
  /** Has a removal that failed tried again in a minute. No daemon stays for that: the next one tries, too. */
  armRetry(id: string): void;
  disarm(id: string): void;
  /** How many sandboxes' moments are still to come. */
  readonly pending: number;
  /** No deadline is armed any more, either. */
  close(): void;
}

export function createDeadlines(onExpired: (id: string) => void): Deadlines {
  const timers = new Map<string, NodeJS.Timeout>();
  const retries = new Set<string>();
  let closed = false;
  const disarm = (id: string): void => {
    clearTimeout(timers.get(id));
    timers.delete(id);
    retries.delete(id);
  };
  const arm = (id: string, atMs: number): void => {
    disarm(id);
    // What is still under way may fail and want another try: the next daemon's.
    if (closed) return;
    const look = (): void => {
      if (Date.now() < atMs) {
        const isRetry = retries.has(id);
        arm(id, atMs);
        if (isRetry) retries.add(id);
      } else {
        disarm(id);
        onExpired(id);
      }
    };
    const leftMs = Math.max(0, atMs - Date.now());
    timers.set(id, setTimeout(look, Math.min(leftMs, longestTimerMs)));
  };
  return {
    arm,
    armRetry(id) {
      arm(id, Date.now() + retryMs);
      if (timers.has(id)) retries.add(id);
    },
    disarm,
    get pending() {
      return timers.size - retries.size;
    },
    close() {
      closed = true;
      for (const id of timers.keys()) disarm(id);
    },
  };
}
