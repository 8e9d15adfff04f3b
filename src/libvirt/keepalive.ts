/** Finding out that a peer is gone that does not say so: its machine lost power, its network went away. */
import { LibvirtConnectionLostError } from "./errors.ts";
import type { Rpc } from "./rpc.ts";

export interface KeepAliveOptions {
  /** How often a daemon that has been silent is pinged. */
  intervalMs: number;
  /** After how many unanswered pings the connection counts as lost. */
  count: number;
}

/**
 * A daemon carries out five calls of a client at the same time and reads nothing more from it meanwhile, not even a
 * ping. So its silence only counts while it has less to do; each call has its own deadline anyway.
 */
const callsThatExcuseSilence = 5;

/** Pings while the connection is silent; ends with the connection. Does not keep the process alive. */
export function keepAlive(rpc: Rpc, peer: string, { intervalMs, count }: KeepAliveOptions): void {
  let unanswered = 0;
  let lastSeenMs = rpc.lastHeardMs;
  const timer = setInterval(() => {
    const heard = rpc.lastHeardMs !== lastSeenMs;
    lastSeenMs = rpc.lastHeardMs;
    if (heard || rpc.callsInFlight >= callsThatExcuseSilence || rpc.transport.input.isPaused()) {
      unanswered = 0;
      return;
    }
    if (unanswered >= count) {
      const silentMs = intervalMs * (count + 1);
      rpc.fail(new LibvirtConnectionLostError(`${peer} has not answered for ${silentMs} ms`));
      return;
    }
    unanswered += 1;
    rpc.sendPing();
  }, intervalMs);
  timer.unref();
  rpc.onLost(() => clearInterval(timer));
}
