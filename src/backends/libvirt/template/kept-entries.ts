/**
 * Small things that are remembered in a file of the state folder, because the daemon comes and goes; losing them costs
 * time, and no more.
 */
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";

import { writeFileAtomic } from "../../../core/atomic-file.ts";
import { parseJson } from "../domain/domain-metadata.ts";

export interface KeptEntries<T> {
  /** What is remembered, to be changed in place. */
  entries(): Promise<Map<string, T>>;
  /** Writes them. Nobody waits for it, and who cannot write finds that out where it matters. */
  save(): void;
  /** Until all of it is written. */
  saved(): Promise<void>;
}

/** One daemon has a state folder, so that what it once read stays true. A file that cannot be understood is an empty one. */
export function keepEntries<T>(path: string, schema: z.ZodType<T>): KeptEntries<T> {
  let reading: Promise<Map<string, T>> | undefined;
  let writing: Promise<void> = Promise.resolve();

  async function read(): Promise<Map<string, T>> {
    const content = parseJson(await readFile(path, "utf8").catch(() => undefined));
    const parsed = z.record(z.string(), schema).safeParse(content);
    return new Map(Object.entries(parsed.success ? parsed.data : {}));
  }

  const entries = (): Promise<Map<string, T>> => (reading ??= read());

  async function writeAfter(before: Promise<void>): Promise<void> {
    await before;
    const content = JSON.stringify(Object.fromEntries(await entries()));
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFileAtomic(path, content);
  }

  return {
    entries,
    save() {
      writing = writeAfter(writing).catch(() => undefined);
    },
    saved: () => writing,
  };
}
