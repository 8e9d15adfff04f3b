/** Opening a connection. */
import type { LibvirtConnection } from "./connection.ts";

export interface KeepAliveOptions {
  /** How often this client pings a daemon that has been silent. */
  intervalMs: number;
  /** After how many unanswered pings the connection counts as lost. */
  count: number;
}

export interface ConnectOptions {
  /** Gives connecting up; the open connection does not listen to it. */
  signal?: AbortSignal | undefined;
  /** For connecting, with the start of a session daemon; default 30 s. */
  timeoutMs?: number | undefined;
  /** The deadline of calls that name none; default 30 s. */
  callTimeoutMs?: number | undefined;
  /** Whether to start a session daemon that does not run; default true, unless LIBVIRT_AUTOSTART=0. */
  autostart?: boolean | undefined;
  /** Default: every 5 s, lost after 5; `false` for no pings of our own. */
  keepAlive?: KeepAliveOptions | false | undefined;
  /** Where XDG_RUNTIME_DIR, HOME and so on are read; default `process.env`. */
  env?: NodeJS.ProcessEnv | undefined;
}

/**
 * Connects to `qemu:///session`, `qemu:///system`, `qemu+unix:///…`, `qemu+tcp://host[:port]/system` or
 * `qemu+ssh://[user@]host[:port]/system`.
 */
export async function connectLibvirt(
  _uri: string,
  _options: ConnectOptions = {},
): Promise<LibvirtConnection> {
  throw new Error("not yet");
}
