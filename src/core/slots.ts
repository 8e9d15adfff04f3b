/** So many at a time, in the order of asking: what all need the same scarce thing, such as the host's CPUs. */
import { createDeferred, type Deferred } from "./deferred.ts";
import { untilAborted } from "./until-aborted.ts";

/** One of the places; giving it back twice does no harm. */
export interface Slot {
  release(): void;
}

export interface Slots {
  /** Whether whoever comes now has to wait. */
  readonly isFull: boolean;
  /** Waits for a slot, not longer than the signal. It is given back by its holder, or after `keptMs`, whatever happens. */
  take(what: string, signal: AbortSignal): Promise<Slot>;
}

export function createSlots(count: number, keptMs: number): Slots {
  let free = count;
  const waiting = new Set<Deferred<void>>();

  function pass(): void {
    const [next] = waiting;
    if (next === undefined) {
      free += 1;
      return;
    }
    waiting.delete(next);
    next.resolve();
  }

  function held(): Slot {
    let isHeld = true;
    const release = (): void => {
      clearTimeout(timer);
      if (!isHeld) return;
      isHeld = false;
      pass();
    };
    const timer = setTimeout(release, keptMs).unref();
    return { release };
  }

  return {
    get isFull() {
      return free === 0;
    },
    async take(what, signal) {
      if (free > 0) {
        free -= 1;
        return held();
      }
      const turn = createDeferred<void>();
      waiting.add(turn);
      try {
        await untilAborted(turn.promise, what, signal);
      } catch (error) {
        // Its turn may have come in the moment in which it gave up.
        if (!waiting.delete(turn)) pass();
        throw error;
      }
      return held();
    },
  };
}
