/**
 * How often a template was asked for and when it was last used. Kept in a file of the state folder, because the daemon
 * comes and goes; losing it costs a boot or a wrong choice of what to remove first, and no more.
 */
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";

import { writeFileAtomic } from "../../../config/atomic-file.ts";
import { parseJson } from "../domain-metadata.ts";

const fileSchema = z.record(z.string(), z.object({ asked: z.number(), usedAtMs: z.number() }));

type Uses = Map<string, z.infer<typeof fileSchema>[string]>;

/** Keys that nobody asked for in so long are forgotten. */
const forgetAfterMs = 90 * 24 * 3_600_000;

export interface TemplateUse {
  /** Counts a request and answers how many there were, with this one. */
  ask(key: string): Promise<number>;
  /** When each template was last asked for; milliseconds since the epoch. */
  lastUsed(): Promise<ReadonlyMap<string, number>>;
  /** Until all of it is written. */
  saved(): Promise<void>;
}

/** One daemon has a state folder, so that what it once read stays true. */
export function createTemplateUse(path: string): TemplateUse {
  let reading: Promise<Uses> | undefined;
  let writing: Promise<void> = Promise.resolve();

  async function read(): Promise<Uses> {
    const parsed = fileSchema.safeParse(parseJson(await readFile(path, "utf8").catch(() => undefined)));
    return new Map(Object.entries(parsed.success ? parsed.data : {}));
  }

  async function writeAfter(before: Promise<void>, content: string): Promise<void> {
    await before;
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFileAtomic(path, content);
  }

  return {
    async ask(key) {
      const uses = await (reading ??= read());
      const now = Date.now();
      const asked = (uses.get(key)?.asked ?? 0) + 1;
      uses.set(key, { asked, usedAtMs: now });
      for (const [other, { usedAtMs }] of uses) if (now - usedAtMs > forgetAfterMs) uses.delete(other);
      // Nobody waits for it, and who cannot write it finds that out where it matters.
      writing = writeAfter(writing, JSON.stringify(Object.fromEntries(uses))).catch(() => undefined);
      return asked;
    },
    saved: () => writing,
    async lastUsed() {
      const uses = await (reading ??= read());
      return new Map([...uses].map(([key, { usedAtMs }]) => [key, usedAtMs]));
    },
  };
}
