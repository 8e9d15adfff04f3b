/** Opening a connection. */
import { keepAlive, type KeepAliveOptions } from "./keepalive.ts";
import { createConnection, type LibvirtConnection, type StartedDaemon } from "./connection.ts";
import { dialDaemonSocket } from "./daemon/session-daemon.ts";
import {
  LibvirtAbortError,
  LibvirtAuthError,
  LibvirtClientError,
  LibvirtConnectError,
  LibvirtConnectionLostError,
  LibvirtError,
  LibvirtTimeoutError,
} from "./errors.ts";
import { createRpc, nothing, type Rpc } from "./rpc.ts";
import type { Transport } from "./transport.ts";
import { dialSsh } from "./transports/ssh.ts";
import { dialTcp } from "./transports/tcp.ts";
import { parseConnectionUri, type ConnectionUri } from "./uri.ts";

export type { KeepAliveOptions } from "./keepalive.ts";

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

const defaultTimeoutMs = 30_000;
const defaultKeepAlive: KeepAliveOptions = { intervalMs: 5_000, count: 5 };

interface OpenedRpc {
  rpc: Rpc;
  started: StartedDaemon | undefined;
}

/**
 * Connects to `qemu:///session`, `qemu:///system`, `qemu+unix:///…`, `qemu+tcp://host[:port]/system` or
 * `qemu+ssh://[user@]host[:port]/system`.
 */
export async function connectLibvirt(uri: string, options: ConnectOptions = {}): Promise<LibvirtConnection> {
  const parsed = parseConnectionUri(uri);
  const { rpc, started } = await openWithDeadline(parsed, options, { autostart: options.autostart ?? true });
  return createConnection({
    uri: parsed,
    rpc,
    startedDaemon: started,
    dialStream: async (signal, timeoutMs) => {
      const stream = await openWithDeadline(
        parsed,
        { ...options, signal, timeoutMs: timeoutMs ?? options.callTimeoutMs },
        { autostart: false },
      );
      return stream.rpc;
    },
  });
}

async function openWithDeadline(
  uri: ConnectionUri,
  options: ConnectOptions,
  { autostart }: { autostart: boolean },
): Promise<OpenedRpc> {
  const { signal, timeoutMs = defaultTimeoutMs } = options;
  // Looked at below, and so kept until it fires: `AbortSignal.any` alone would not hold it.
  const deadline = AbortSignal.timeout(Math.min(timeoutMs, 2 ** 31 - 1));
  const either = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
  const what = `connecting to ${uri.text}`;
  try {
    return await open(uri, { ...options, autostart, signal: either });
  } catch (error) {
    if (signal?.aborted === true) throw new LibvirtAbortError(what, signal.reason);
    if (deadline.aborted) throw new LibvirtTimeoutError(what, timeoutMs);
    if (error instanceof LibvirtConnectionLostError) {
      const why = error.reason ?? "the daemon hung up";
      throw new LibvirtConnectError(`could not connect to ${uri.text}: ${why}`, { cause: error });
    }
    if (error instanceof LibvirtClientError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new LibvirtConnectError(`could not connect to ${uri.text}: ${why}`, { cause: error });
  }
}

async function open(
  uri: ConnectionUri,
  options: ConnectOptions & { autostart: boolean; signal: AbortSignal },
): Promise<OpenedRpc> {
  try {
    return await openOnce(uri, options);
  } catch (error) {
    // An idle session daemon may leave at the very moment that it accepts us; another one is started then.
    if (!options.autostart || uri.transport !== "unix" || !(error instanceof LibvirtConnectionLostError))
      throw error;
    return await openOnce(uri, options);
  }
}

async function openOnce(
  uri: ConnectionUri,
  options: ConnectOptions & { autostart: boolean; signal: AbortSignal },
): Promise<OpenedRpc> {
  const { transport, started } = await dial(uri, options);
  const rpc = createRpc(transport, `libvirt at ${uri.text}`, options.callTimeoutMs ?? defaultTimeoutMs);
  try {
    await authenticate(rpc, uri, options.signal);
    await rpc.call(
      "connectOpen",
      (writer) => writer.optionalString(uri.driverUri).u32(0),
      nothing,
      // The deadline is the signal's.
      { signal: options.signal, timeoutMs: Infinity },
    );
    if (options.keepAlive !== false) {
      keepAlive(rpc, `libvirt at ${uri.text}`, options.keepAlive ?? defaultKeepAlive);
    }
    return { rpc, started };
  } catch (error) {
    transport.destroy();
    throw error;
  }
}

async function dial(
  uri: ConnectionUri,
  options: ConnectOptions & { autostart: boolean; signal: AbortSignal },
): Promise<{ transport: Transport; started: StartedDaemon | undefined }> {
  const { signal, autostart, env = process.env } = options;
  if (uri.transport === "unix") return await dialDaemonSocket(uri, { env, autostart, signal });
  const dialed = uri.transport === "tcp" ? dialTcp(uri, signal) : dialSsh(uri, env, signal);
  return { transport: await dialed, started: undefined };
}

async function authenticate(rpc: Rpc, uri: ConnectionUri, signal: AbortSignal): Promise<void> {
  const limits = { signal, timeoutMs: Infinity };
  const types = await rpc.call(
    "authList",
    nothing,
    (reader) => reader.array(20, 4, () => reader.i32()),
    limits,
  );
  // None is asked for.
  if (types.length === 0 || types.includes(0)) return;
  if (types.includes(2)) return await authenticateByPolkit(rpc, uri, signal);
  const method = types.includes(1) ? "sasl" : String(types[0]);
  throw new LibvirtAuthError(
    method,
    `libvirt at ${uri.text} wants authentication by ${method}, which is not supported; ` +
      `connect with qemu+ssh://, or let the daemon ask for none on a trusted network`,
  );
}

async function authenticateByPolkit(rpc: Rpc, uri: ConnectionUri, signal: AbortSignal): Promise<void> {
  try {
    await rpc.call("authPolkit", nothing, (reader) => reader.i32(), { signal, timeoutMs: Infinity });
  } catch (error) {
    if (!(error instanceof LibvirtError)) throw error;
    throw new LibvirtAuthError(
      "polkit",
      `libvirt at ${uri.text} does not let this user in (${error.message}); ` +
        `members of the group "libvirt" may use it, or use qemu:///session`,
      { cause: error },
    );
  }
}
