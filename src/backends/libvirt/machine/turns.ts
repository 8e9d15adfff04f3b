/**
 * Turns at starting a clone. Of many creates at once each would have a small share of a CPU, and the first would be ready as
 * late as the last; and guests that start push each other's translated code out of the caches.
 */
import { inStep, type WorkContext } from "../../../core/step.ts";
import { createSlots, type Slot } from "../../../core/slots.ts";

export interface Turns {
  /** Waits until the machine may start, and tells when that takes a while. */
  take(id: string, context: WorkContext): Promise<void>;
  /** It is ready, or will not be. Does nothing for a machine that has no turn. */
  end(id: string): void;
}

/** A clone is ready in a second. One that takes longer than this waits for something else than a CPU, or for ever. */
const longestTurnMs = 5_000;

/** `count`: how many may start at once. */
export function createTurns(count: number, longestMs = longestTurnMs): Turns {
  const slots = createSlots(count, longestMs);
  const held = new Map<string, Slot>();
  return {
    async take(id, context) {
      const take = async (): Promise<Slot> =>
        await slots.take("waiting for other machines to start", context.signal);
      const step = { id: "turn", title: "Waiting for other machines to start" };
      held.set(id, slots.isFull ? await inStep(context, step, take) : await take());
    },
    end(id) {
      held.get(id)?.release();
      held.delete(id);
    },
  };
}
