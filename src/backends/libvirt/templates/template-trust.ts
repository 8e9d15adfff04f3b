/**
 * Which templates are known to work, and of which kinds of machine the templates do not: a host, QEMU or guest that cannot
 * be cloned must never cost more than a boot, and not be tried again with each sandbox.
 */
import { z } from "zod";

import { keepEntries } from "./kept-entries.ts";

export interface TemplateTrust {
  /** Why machines of this key boot for now; `undefined` when nothing speaks against cloning them. */
  doubt(key: string): Promise<string | undefined>;
  /** Machines of this key boot for a while: longer each time, half an hour the first. `kind` is what they are, for people. */
  doubtFrom(key: string, kind: string, reason: string): Promise<void>;
  /** Somebody wants it tried again now. */
  letTry(key: string): Promise<void>;
  /** All doubts of now, in words. */
  doubts(): Promise<string[]>;
  /** Whether a clone of this very template has answered here. */
  isProven(build: string): boolean;
  /** A clone of the template has answered. */
  prove(key: string, build: string): Promise<void>;
  /** A clone of it did not start: whether one had before. The next has to prove it anew. */
  unprove(build: string): boolean;
  /** Until all of it is written. */
  saved(): Promise<void>;
}

const doubtSchema = z.object({
  kind: z.string(),
  reason: z.string(),
  /** In a row. */
  failures: z.number(),
  /** Milliseconds since the epoch. */
  untilMs: z.number(),
});

const firstDoubtMs = 30 * 60_000;
const longestDoubtMs = 30 * 24 * 3_600_000;
const doubtGrowth = 4;

/** `now` is the clock, in milliseconds since the epoch, except in tests. */
export function createTemplateTrust(path: string, now: () => number = Date.now): TemplateTrust {
  const kept = keepEntries(path, doubtSchema);
  /** Builds, in this process: what has changed of the host since another may have broken them. */
  const proven = new Set<string>();

  // A clock that was set back must not prolong it.
  const isOpen = ({ untilMs }: { untilMs: number }): boolean =>
    untilMs > now() && untilMs <= now() + longestDoubtMs;

  return {
    async doubt(key) {
      const found = (await kept.entries()).get(key);
      return found !== undefined && isOpen(found) ? found.reason : undefined;
    },
    async doubtFrom(key, kind, reason) {
      const doubts = await kept.entries();
      const failures = (doubts.get(key)?.failures ?? 0) + 1;
      const forMs = Math.min(firstDoubtMs * doubtGrowth ** (failures - 1), longestDoubtMs);
      doubts.set(key, { kind, reason, failures, untilMs: now() + forMs });
      // Of keys that nobody has asked for since.
      for (const [other, { untilMs }] of doubts) if (untilMs + longestDoubtMs < now()) doubts.delete(other);
      kept.save();
    },
    async letTry(key) {
      const found = (await kept.entries()).get(key);
      if (found === undefined) return;
      found.untilMs = now();
      kept.save();
    },
    async doubts() {
      return [...(await kept.entries()).values()]
        .filter(isOpen)
        .map(({ kind, reason, untilMs }) => `${kind} until ${new Date(untilMs).toISOString()}: ${reason}`);
    },
    isProven: (build) => proven.has(build),
    async prove(key, build) {
      proven.add(build);
      if ((await kept.entries()).delete(key)) kept.save();
    },
    unprove: (build) => proven.delete(build),
    saved: () => kept.saved(),
  };
}
