/** Waiting for a daemon that has just been started. */
import { setTimeout as sleep } from "node:timers/promises";

import type { Transport } from "../transport.ts";
import { dialUnix } from "../transports/unix.ts";
import type { SupervisedDaemon } from "./supervisor.ts";

/** Tries until the daemon listens, or `signal` aborts, or the daemon has left and nobody else listens either. */
export async function dialUntilUp(
  findPath: () => string,
  daemon: SupervisedDaemon,
  signal: AbortSignal,
): Promise<{ transport: Transport; path: string }> {
  for (let waitMs = 5; ; waitMs = Math.min(waitMs * 1.5, 100)) {
    const hadLeft = daemon.left.aborted;
    const path = findPath();
    try {
      return { transport: await dialUnix(path, signal), path };
    } catch (error) {
      if (!isNobodyThere(error)) throw error;
      if (hadLeft) throw daemon.left.reason;
      // There is nothing to listen to: libvirt's own client tries again and again, too.
      await sleep(waitMs, undefined, { signal: AbortSignal.any([signal, daemon.left]) }).catch(
        () => undefined,
      );
      signal.throwIfAborted();
    }
  }
}

/** Whether a socket has nobody behind it, or is not there. */
export function isNobodyThere(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOENT" || code === "ECONNREFUSED";
}
