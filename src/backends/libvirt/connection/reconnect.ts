/** Gets back to a libvirt that went away, for as long as it takes. */

const pausesMs = { first: 500, longest: 30_000 };

export interface Reconnect {
  /** Begins now. Does nothing while it is under way. */
  begin(): void;
}

/** `attempt` throws as long as libvirt is away. What it has to do when it is back is its own work. Ends with the signal. */
export function createReconnect(attempt: () => Promise<void>, closed: AbortSignal): Reconnect {
  let timer: NodeJS.Timeout | undefined;
  async function tryNow(pauseMs: number): Promise<void> {
    timer = undefined;
    try {
      await attempt();
    } catch {
      // It is away still, and whoever calls it meanwhile is told why.
      later(Math.min(2 * pauseMs, pausesMs.longest));
    }
  }
  function later(pauseMs: number): void {
    if (timer !== undefined || closed.aborted) return;
    timer = setTimeout(() => void tryNow(pauseMs), pauseMs).unref();
  }
  closed.addEventListener("abort", () => clearTimeout(timer), { once: true });
  return { begin: () => later(pausesMs.first) };
}
