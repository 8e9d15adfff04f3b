/** What was found out of KVM on a host, and how long that is believed. How it is found out: `kvm-check.ts`, `kvm-trial.ts`. */
import { mkdir, readFile } from "node:fs/promises";
import { release } from "node:os";
import { dirname } from "node:path";

import { z } from "zod";

import { timeoutSignal } from "../../../core/deadline.ts";
import { writeFileAtomic } from "../../../core/atomic-file.ts";
import { parseJson } from "../domain/domain-metadata.ts";
import { hostBootId } from "../process-mark.ts";

const kvmVerdict = z.object({
  usable: z.boolean(),
  /** What was seen, for people. */
  message: z.string(),
  /** `missing`, `permission`: of the device. `guest`: it opens, and no guest runs. */
  problem: z.enum(["missing", "permission", "guest", "qemu"]).optional(),
});

export type KvmVerdict = z.infer<typeof kvmVerdict>;

/** A verdict and when it was found, in milliseconds since 1970. */
const datedVerdict = z.object({ verdict: kvmVerdict, at: z.number() });

export type DatedVerdict = z.infer<typeof datedVerdict>;

/** Where a verdict is kept. */
export interface VerdictMemory {
  read(): Promise<DatedVerdict | undefined>;
  write(dated: DatedVerdict): Promise<void>;
}

/** How long a verdict is believed that KVM does not work: somebody may have mended it. */
export const doubtAfterMs = 10 * 60_000;

/** Those behind an answer. */
const looks = new Set<{ controller: AbortController; ended: Promise<void> }>();
/** Longer than any look gives a guest that hangs. */
const lookTimeoutMs = 60_000;

/**
 * The verdict that is remembered, or a new one. That KVM works is believed for ever. When it did not work some time ago,
 * that is the answer still, since a guest that hangs costs seconds, and `look` runs behind it for those who ask later;
 * who would rather wait for that gives a shorter `waitAfterMs`.
 */
export async function rememberedVerdict(
  memory: VerdictMemory,
  look: (signal: AbortSignal) => Promise<KvmVerdict>,
  signal: AbortSignal,
  waitAfterMs = Number.POSITIVE_INFINITY,
): Promise<KvmVerdict> {
  const known = await memory.read();
  const lookAndRemember = async (until: AbortSignal) => {
    const verdict = await look(until);
    // On a full disk it is found out again the next time.
    await memory.write({ verdict, at: Date.now() }).catch(() => undefined);
    return verdict;
  };
  if (known === undefined) return await lookAndRemember(signal);
  // A clock that was set back makes no verdict young.
  const ageMs = Math.abs(Date.now() - known.at);
  if (known.verdict.usable || ageMs < Math.min(doubtAfterMs, waitAfterMs)) return known.verdict;
  if (ageMs >= waitAfterMs) return await lookAndRemember(signal);
  // One look for all who ask meanwhile; where this cannot be written, nobody could tell, and there is none.
  const isNoted = await memory.write({ ...known, at: Date.now() }).then(
    () => true,
    () => false,
  );
  // It outlives who asked. What goes wrong with it is told to the next who has to wait for one.
  if (isNoted) {
    const controller = new AbortController();
    const until = AbortSignal.any([controller.signal, timeoutSignal(lookTimeoutMs)]);
    const look = { controller, ended: lookAndRemember(until).then(ignore, ignore) };
    looks.add(look);
    void look.ended.then(() => looks.delete(look));
  }
  return known.verdict;
}

/** Ends the looks that nobody waits for, and waits for their end: before this process leaves. */
export async function endLooks(): Promise<void> {
  for (const { controller } of looks) controller.abort();
  await Promise.all([...looks].map(({ ended }) => ended));
}

function ignore(): void {}

/** In a file; it holds for the same `inputs`, this boot of the host and this kernel. */
export async function verdictFile(path: string, inputs: readonly string[]): Promise<VerdictMemory> {
  const key = JSON.stringify([await hostBootId(), release(), ...inputs]);
  const schema = datedVerdict.extend({ key: z.literal(key) });
  return {
    async read() {
      const stored = schema.safeParse(parseJson(await readFile(path, "utf8").catch(() => undefined)));
      return stored.success ? stored.data : undefined;
    },
    async write({ verdict, at }) {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await writeFileAtomic(path, JSON.stringify({ key, at, verdict }));
    },
  };
}

/** For as long as this process lives. */
export function verdictInMemory(): VerdictMemory {
  let kept: DatedVerdict | undefined;
  return {
    read: async () => kept,
    write: async (dated) => {
      kept = dated;
    },
  };
}
