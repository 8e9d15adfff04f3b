/** Starting libvirt's system daemon on a machine that has no service manager to do it. */
import type { StartedDaemon } from "../connection.ts";

export interface StartSystemDaemonOptions {
  signal?: AbortSignal | undefined;
  /** Default 30 s. */
  timeoutMs?: number | undefined;
  /** The daemon leaves after this long without clients and domains; default 120 s, as a session daemon does. */
  idleTimeoutSeconds?: number | undefined;
  env?: NodeJS.ProcessEnv | undefined;
}

/**
 * Starts virtlogd and libvirtd (or virtqemud and its like), for root only. Resolves with what it started when the
 * daemon accepts connections: the daemon first, then what it needs; empty when one ran already.
 */
export async function startSystemDaemon(_options: StartSystemDaemonOptions = {}): Promise<StartedDaemon[]> {
  throw new Error("not yet");
}
