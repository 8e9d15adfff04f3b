/** Waiting for a daemon that has just been started. */
import { setTimeout as sleep } from "node:timers/promises";

import type { Transport } from "../transport.ts";
import { dialUnix } from "../transports/unix.ts";
import type { SupervisedDaemon } from "./supervisor.ts";

/** A daemon that leaves at once may have met another that somebody else has just started and is not up yet, either. */
const rivalTimeoutMs = 2_000;

/** Tries until the daemon listens, or `signal` aborts, or the daemon has left and nobody else listens either. */
export async function dialUntilUp(
  findPath: () => string,
  daemon: SupervisedDaemon,
  signal: AbortSignal,
): Promise<{ transport: Transport; path: string }> {
  let leftAtMs: number | undefined;
  for (let waitMs = 5; ; waitMs = Math.min(waitMs * 1.5, 100)) {
    if (daemon.left.aborted) leftAtMs ??= performance.now();
    const path = findPath();
    try {
      return { transport: await dialUnix(path, signal), path };
    } catch (error) {
      if (!isNobodyThere(error)) throw error;
      if (leftAtMs !== undefined && performance.now() - leftAtMs > rivalTimeoutMs) throw daemon.left.reason;
      // There is nothing to listen to: libvirt's own client tries again and again, too.
      await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      signal.throwIfAborted();
    }
  }
}

/** Whether a socket has nobody behind it, or is not there. */
export function isNobodyThere(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOENT" || code === "ECONNREFUSED";
}
