/** Clones that are made one after the other and all kept running: what each took, and what each has of this host. */
import { setTimeout as delay } from "node:timers/promises";

import type { Heyvm, OwnedSandbox } from "../src/sdk/index.ts";
import { cloneToFirstOutput } from "./first-output.ts";
import { findQemu, measureQemu, type QemuMemory } from "./qemu-process.ts";

export interface KeptClones {
  /** From `create` to the first output, in the order in which they were made. */
  timesMs: number[];
  /** Of each, after all had `idleMs` without a command. */
  memories: QemuMemory[];
}

export interface KeepOptions {
  count: number;
  memoryBytes: number;
  /** Before each. */
  pauseMs: number;
  idleMs: number;
}

/** They are removed at the end. */
export async function keepClones(heyvm: Heyvm, image: string, options: KeepOptions): Promise<KeptClones> {
  const timesMs: number[] = [];
  const sandboxes: OwnedSandbox[] = [];
  try {
    while (sandboxes.length < options.count) {
      await delay(options.pauseMs);
      const { sandbox, totalMs } = await cloneToFirstOutput(heyvm, image);
      sandboxes.push(sandbox);
      timesMs.push(totalMs);
    }
    await delay(options.idleMs);
    const memories: QemuMemory[] = [];
    for (const sandbox of sandboxes) {
      memories.push(await measureQemu((await findQemu(sandbox)).pid, options.memoryBytes));
    }
    return { timesMs, memories };
  } finally {
    for (const sandbox of sandboxes) await sandbox[Symbol.asyncDispose]();
  }
}
