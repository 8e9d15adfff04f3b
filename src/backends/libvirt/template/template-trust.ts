/**
 * Which templates are known to work, and of which kinds of machine the templates do not: a host, QEMU or guest that cannot
 * be cloned must never cost more than a boot, and not be tried again with each sandbox.
 */
import { z } from "zod";

import { keepEntries } from "./kept-entries.ts";

export interface TemplateTrust {
  /** Why machines of this key boot for now; `undefined` when nothing speaks against cloning them. */
  doubt(key: string): Promise<string | undefined>;
  /**
   * Machines of this key boot for a while: longer each time, half an hour the first. What is found out again meanwhile,
   * because somebody wanted it tried, does not prolong it. `kind` is what they are, for people.
   */
  doubtFrom(key: string, kind: string, reason: string): Promise<void>;
  /** It is to be tried again. What is known of earlier templates of the kind (another QEMU's) is over. */
  letTry(key: string, kind: string): Promise<void>;
  /** All doubts of now, in words. */
  doubts(): Promise<string[]>;
  /** Whether a clone of this very template has answered here. */
  isProven(build: string): boolean;
  /** A clone of the template has worked. */
  prove(key: string, build: string, kind: string): Promise<void>;
  /** The next clone has to prove it anew. */
  unprove(build: string): void;
  /** Until all of it is written. */
  saved(): Promise<void>;
}

const doubtSchema = z.object({
  kind: z.string(),
  reason: z.string(),
  /** In a row. */
  failures: z.number(),
  /** Milliseconds since the epoch. */
  sinceMs: z.number(),
  untilMs: z.number(),
});

type Doubt = z.infer<typeof doubtSchema>;

const firstDoubtMs = 30 * 60_000;
const longestDoubtMs = 30 * 24 * 3_600_000;
const doubtGrowth = 4;

/** `now` is the clock, in milliseconds since the epoch, except in tests. */
export function createTemplateTrust(path: string, now: () => number = Date.now): TemplateTrust {
  const kept = keepEntries(path, doubtSchema);
  /** Builds, in this process: what has changed of the host since another may have broken them. */
  const proven = new Set<string>();

  // A clock that was set back must not prolong it.
  const isOpen = ({ sinceMs, untilMs }: Doubt): boolean => sinceMs <= now() && now() < untilMs;

  async function forgetOthers(key: string, kind: string): Promise<void> {
    const doubts = await kept.entries();
    const others = [...doubts].filter(([other, doubt]) => other !== key && doubt.kind === kind);
    for (const [other] of others) doubts.delete(other);
    if (others.length > 0) kept.save();
  }

  return {
    async doubt(key) {
      const found = (await kept.entries()).get(key);
      return found !== undefined && isOpen(found) ? found.reason : undefined;
    },
    async doubtFrom(key, kind, reason) {
      const doubts = await kept.entries();
      const earlier = doubts.get(key);
      if (earlier !== undefined && isOpen(earlier)) {
        doubts.set(key, { ...earlier, reason });
      } else {
        const failures = (earlier?.failures ?? 0) + 1;
        const sinceMs = now();
        const forMs = Math.min(firstDoubtMs * doubtGrowth ** (failures - 1), longestDoubtMs);
        doubts.set(key, { kind, reason, failures, sinceMs, untilMs: sinceMs + forMs });
      }
      // Their keys are such that nobody has asked for since.
      for (const [other, { untilMs }] of doubts) if (untilMs + longestDoubtMs < now()) doubts.delete(other);
      kept.save();
    },
    async letTry(key, kind) {
      await forgetOthers(key, kind);
      const found = (await kept.entries()).get(key);
      if (found === undefined) return;
      found.untilMs = found.sinceMs;
      kept.save();
    },
    async doubts() {
      return [...(await kept.entries()).values()]
        .filter(isOpen)
        .map(({ kind, reason, untilMs }) => `${kind} until ${new Date(untilMs).toISOString()}: ${reason}`);
    },
    isProven: (build) => proven.has(build),
    async prove(key, build, kind) {
      proven.add(build);
      await forgetOthers(key, kind);
      if ((await kept.entries()).delete(key)) kept.save();
    },
    unprove: (build) => void proven.delete(build),
    saved: () => kept.saved(),
  };
}
