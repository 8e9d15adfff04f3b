import { setTimeout as sleep } from "node:timers/promises";

import { AbortedError } from "../../errors/index.ts";
import { DownloadFailedError, HttpStatusError } from "./download-errors.ts";
import type { DownloadTimeouts } from "../types.ts";

const maxDelayMs = 15_000;

/**
 * Tries again, ever later, what failed for a reason that may pass. Attempts in a row are counted; `progressed` tells
 * whether the last one brought something, and then the count begins anew.
 */
export async function withRetries<T>(
  options: { timeouts: DownloadTimeouts; signal: AbortSignal; progressed?: () => boolean },
  attempt: () => Promise<T>,
): Promise<T> {
  const { timeouts, signal, progressed } = options;
  for (let failures = 1; ; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof DownloadFailedError) || !error.temporary) throw error;
      if (progressed?.() === true) failures = 1;
      if (failures >= timeouts.attempts) throw error;
      const asked = error instanceof HttpStatusError ? (error.retryAfterMs ?? 0) : 0;
      const delayMs = Math.min(maxDelayMs, Math.max(asked, timeouts.retryDelayMs * 2 ** (failures - 1)));
      try {
        await sleep(delayMs, undefined, { signal });
      } catch {
        throw new AbortedError("the download", signal.reason);
      }
    }
  }
}
