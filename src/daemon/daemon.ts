/** The daemon: owns the sandboxes of one state folder and serves the API. */
import { rm } from "node:fs/promises";

import type { ConnectAgent } from "../agent/types.ts";
import { defaultSocketPath, openSocketFolder } from "../config/daemon-socket.ts";
import { type StatePaths, statePaths } from "../config/paths.ts";
import { type LoadedSettings, loadSettings, type SettingKey } from "../config/settings.ts";
import { packageVersion } from "../config/version.ts";
import { type Log, type OpenableBackend, openSandboxes, type OpenSandboxes } from "../sandbox/index.ts";
import { messageOf } from "../errors/index.ts";
import { writeFileAtomic } from "../core/atomic-file.ts";
import { createDeferred } from "../core/deferred.ts";
import { createApp } from "../api/app.ts";
import { createRequestCheck, ensureToken } from "./auth.ts";
import { type Cleanup, createCleanup } from "./cleanup.ts";
import { lockStateFolder } from "./daemon-lock.ts";
import { openDaemonLog } from "./daemon-log.ts";
import { watchIdle } from "./idle.ts";
import type { ImageStore } from "../images/index.ts";
import { closeListener, createListener, type Listener, listenOnTcp } from "./listeners.ts";
import type { DaemonInfo } from "../api/schema.ts";
import type { ApiServices } from "../api/services.ts";
import { findTcpAddress, type TcpAddress } from "./tcp-address.ts";
import { listenOnUnixSocket, removeStaleSocket } from "./unix-socket.ts";
import { calmMs, DaemonFailedError, type Failure, noticeOf, watchUnforeseen } from "./unforeseen.ts";

export { DaemonRunningError } from "./daemon-lock.ts";

export interface ServeOptions {
  /** Default: `MVM_DATA_DIR`, or `~/.heyo`. */
  state?: StatePaths | undefined;
  /** Settings that flags gave. */
  flags?: Partial<Record<SettingKey, unknown>> | undefined;
  /** Also listen on TCP, at the address of the settings `api.host` and `api.port`. */
  tcp?: boolean | undefined;
  /** Without TLS also at an address that other machines can reach. */
  insecureHttp?: boolean | undefined;
  /** Leave when nothing is left to do, as a daemon does that was started on demand. */
  exitWhenIdle?: boolean | undefined;
  /** Ends the daemon. */
  signal?: AbortSignal | undefined;
  /** Told once, when requests are answered. */
  onReady?: ((info: DaemonInfo) => void) | undefined;
  /** Told of what is no reason not to serve, once, before that. */
  onWarning?: ((message: string) => void) | undefined;
  /** Told when the daemon has begun anew, after something that nobody foresaw. */
  onRestart?: ((failure: Failure, info: DaemonInfo) => void) | undefined;
}

/** What a daemon is made of; tests bring their own. */
export interface DaemonParts {
  backends: (settings: LoadedSettings["values"], state: StatePaths) => readonly OpenableBackend[];
  createImages: (settings: LoadedSettings["values"], state: StatePaths) => ImageStore;
  connectAgent: ConnectAgent;
}

const closeGraceMs = 10_000;

/**
 * Serves until the signal, or until idle. Throws `wrong_state` when another daemon has the state folder, and `internal`
 * when what nobody foresaw has happened a second time.
 */
export async function runDaemon(options: ServeOptions, parts: DaemonParts): Promise<void> {
  const state = options.state ?? statePaths();
  let earlier: Failure | undefined;
  const kept: Kept = { tcp: undefined, port: undefined };
  for (;;) {
    const failure = await runOnce(options, parts, { state, earlier, kept });
    if (failure === undefined || options.signal?.aborted === true) return;
    if (earlier !== undefined && failure.atMs - earlier.atMs < calmMs) {
      throw new DaemonFailedError(failure, state.daemonLog);
    }
    earlier = failure;
  }
}

/** What outlives a daemon that begins anew. */
interface Kept {
  /** Where the TCP listener is, as it was found at the first time. */
  tcp: TcpAddress | undefined;
  /** The TCP listener's: a client that was told of one that was free finds it again. */
  port: number | undefined;
}

interface Beginning {
  state: StatePaths;
  /** Why it begins anew. */
  earlier: Failure | undefined;
  kept: Kept;
}

/** Returns what made it leave, if that was unforeseen. */
async function runOnce(
  options: ServeOptions,
  parts: DaemonParts,
  beginning: Beginning,
): Promise<Failure | undefined> {
  const { state, earlier, kept } = beginning;
  const settings = await loadSettings({ path: state.settings, flags: options.flags });
  if (options.tcp === true) kept.tcp ??= await findTcpAddress(settings, options.insecureHttp === true);
  await using cleanup = createCleanup();
  const lock = await lockStateFolder(state);
  cleanup.defer(async () => await lock[Symbol.asyncDispose]());
  const socketPath = settings.values.socket ?? defaultSocketPath(state);
  await openSocketFolder(socketPath);
  // A daemon of another version may lock otherwise: its machines must not be taken for left over.
  await removeStaleSocket(socketPath);
  const log = openDaemonLog(state);
  cleanup.defer(() => log[Symbol.dispose]());
  const unforeseen = watchUnforeseen(log);
  cleanup.defer(() => unforeseen[Symbol.dispose]());
  log.info({ pid: process.pid, version: packageVersion(), data_dir: state.root }, "daemon starts");
  if (kept.tcp?.warning !== undefined && earlier === undefined) {
    log.warn({}, kept.tcp.warning);
    options.onWarning?.(kept.tcp.warning);
  }

  const sandboxes = await openSandboxes({
    state,
    settings: settings.values,
    backends: parts.backends(settings.values, state),
    images: parts.createImages(settings.values, state),
    connectAgent: parts.connectAgent,
    log,
    notice: earlier && noticeOf(earlier),
  });
  cleanup.defer(async () => await sandboxes.close());
  const failed = unforeseen.signal;
  await serveSandboxes({ ...beginning, options, socketPath, settings, sandboxes, log, failed }, cleanup);
  log.info({ pid: process.pid }, "daemon leaves");
  return unforeseen.failure;
}

interface Serving extends Beginning {
  options: ServeOptions;
  socketPath: string;
  settings: LoadedSettings;
  sandboxes: OpenSandboxes;
  log: Log;
  /** Something happened that nobody foresaw. */
  failed: AbortSignal;
}

async function serveSandboxes(serving: Serving, cleanup: Cleanup): Promise<void> {
  const { options, socketPath, state, settings, sandboxes, log, earlier, kept, failed } = serving;
  const daemon: DaemonInfo = {
    pid: process.pid,
    socket_path: socketPath,
    version: packageVersion(),
    started_at: new Date().toISOString(),
    ...(earlier && { restart_reason: noticeOf(earlier) }),
  };
  const listeners: Listener[] = [];
  let requests = 0;
  const activeRequests = (): number =>
    listeners.reduce((count, { sockets }) => count + sockets.count, requests);
  const isBusy = (): boolean => activeRequests() > 0 || sandboxes.needsDaemon();
  const services: ApiServices = {
    context: sandboxes.context,
    settings,
    daemon,
    onDemand: options.exitWhenIdle === true,
    activeRequests,
    log,
  };
  const api = createApp(services);
  const { promise: leaving, resolve: leave } = createDeferred<void>();
  const idle = watchIdle({
    idleMs: settings.values["daemon.idle_seconds"] * 1000,
    isBusy: () => options.exitWhenIdle !== true || isBusy(),
    onIdle: leave,
  });
  cleanup.defer(() => idle.close());
  for (const signal of [options.signal, failed]) {
    signal?.addEventListener("abort", () => leave(), { once: true });
    if (signal?.aborted === true) leave();
  }
  const open = (access: Parameters<typeof createListener>[2]): Listener => {
    const listener = createListener(api, services, access, (_request, response) => {
      requests += 1;
      idle.touch();
      response.once("close", () => {
        requests -= 1;
        idle.touch();
      });
    });
    listeners.push(listener);
    cleanup.defer(async () => await closeListener(listener, closeGraceMs));
    return listener;
  };

  const local = open({ kind: "local", check: () => "known" });
  await listenOnUnixSocket(local.server, daemon.socket_path);
  if (kept.tcp !== undefined) {
    const { host, tls } = kept.tcp;
    const token = await ensureToken(state.apiToken);
    const check = createRequestCheck({ token, host, hasTls: tls !== undefined });
    const { server } = open({ kind: "tcp", check, tls });
    const port = await listenOnTcp(server, kept.tcp, kept.port ?? settings.values["api.port"]);
    kept.port = port;
    const scheme = tls === undefined ? "http" : "https";
    daemon.url = `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`;
  }
  cleanup.defer(async () => await rm(state.daemonInfo, { force: true }));
  try {
    await writeFileAtomic(state.daemonInfo, `${JSON.stringify(daemon)}\n`);
  } catch (error) {
    // Its clients know the socket. One of an earlier daemon would lead them to another process.
    await rm(state.daemonInfo, { force: true });
    log.warn(
      { path: state.daemonInfo, reason: messageOf(error) },
      "where the daemon is could not be written down",
    );
  }
  log.info(daemon, "daemon listens");
  if (earlier === undefined) options.onReady?.(daemon);
  else options.onRestart?.(earlier, daemon);
  await leaving;
  log.info({}, "daemon is about to leave");
  sandboxes.abortWork();
}
