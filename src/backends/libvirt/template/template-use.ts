/** How often a template was asked for and when it was last used: it decides what is worth making and what is removed first. */
import { z } from "zod";

import { keepEntries } from "./kept-entries.ts";

/** Keys that nobody asked for in so long are forgotten. */
const forgetAfterMs = 90 * 24 * 3_600_000;

export interface TemplateUse {
  /** Counts a request and returns how many there were, with this one. */
  ask(key: string): Promise<number>;
  /** When each template was last asked for; milliseconds since the epoch. */
  lastUsed(): Promise<ReadonlyMap<string, number>>;
  /** Until all of it is written. */
  saved(): Promise<void>;
}

export function createTemplateUse(path: string): TemplateUse {
  const kept = keepEntries(path, z.object({ asked: z.number(), usedAtMs: z.number() }));
  return {
    async ask(key) {
      const uses = await kept.entries();
      const now = Date.now();
      const asked = (uses.get(key)?.asked ?? 0) + 1;
      uses.set(key, { asked, usedAtMs: now });
      for (const [other, { usedAtMs }] of uses) if (now - usedAtMs > forgetAfterMs) uses.delete(other);
      kept.save();
      return asked;
    },
    saved: () => kept.saved(),
    async lastUsed() {
      return new Map([...(await kept.entries())].map(([key, { usedAtMs }]) => [key, usedAtMs]));
    },
  };
}
