/** Finds the daemon of this state folder, and starts it when nobody answers. */
import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";

import type { DaemonInfo, Health, Sandbox } from "../api/schema.ts";
import { checkSocketFolder, defaultSocketPath } from "../config/daemon-socket.ts";
import { buildId, packageVersion } from "../config/version.ts";
import { type StatePaths, statePaths } from "../config/paths.ts";
import { errnoOf } from "../errors/thrown.ts";
import { DaemonUnavailableError } from "./client-errors.ts";
import { type DaemonStart, startDaemon } from "./daemon-start.ts";
import type { Endpoint } from "./endpoint.ts";
import { createTransport, type RequestLog, type Transport } from "./transport.ts";
import { parseMessage } from "./wire.ts";

export interface DaemonOptions {
  socketPath?: string | undefined;
  autostart?: boolean | undefined;
  onNotice?: ((message: string) => void) | undefined;
  onRequest?: RequestLog | undefined;
  signal?: AbortSignal | undefined;
  /** Node's arguments for a daemon that is started; default: this package's daemon. */
  serve?: readonly string[] | undefined;
}

const healthTimeoutMs = 15_000;
const stopTimeoutMs = 15_000;

/** Resolves with the socket of a daemon that answers. */
export async function connectDaemon(options: DaemonOptions = {}): Promise<Endpoint> {
  const paths = statePaths();
  const endpoint: Endpoint = { kind: "socket", socketPath: await findSocket(options.socketPath, paths) };
  const transport = createTransport(endpoint, options.onRequest);
  const start = { endpoint, paths, signal: options.signal, serve: options.serve };
  try {
    const health = await askHealth(transport, options.signal);
    if (health === undefined) {
      if (options.autostart === false) {
        throw new DaemonUnavailableError(`no heyvm daemon listens on ${endpoint.socketPath}`, {
          hint: "start it with: heyvm serve",
          details: { endpoint: endpoint.socketPath },
        });
      }
      await startDaemon({ ...start, answers: () => answers(transport, options.signal) });
    } else {
      const difference = differenceOf(health);
      if (difference !== undefined) await settleDifference(difference, health, transport, start, options);
    }
    return endpoint;
  } finally {
    transport.close();
  }
}

/** Asked for, or as the running daemon tells, or where it would be; what nobody asked for is looked at first. */
async function findSocket(asked: string | undefined, paths: StatePaths): Promise<string> {
  const chosen = asked ?? process.env["HEYVM_SOCKET"];
  if (chosen !== undefined && chosen !== "") return chosen;
  const path = (await toldSocket(paths)) ?? defaultSocketPath(paths);
  await checkSocketFolder(path, paths);
  return path;
}

async function toldSocket(paths: StatePaths): Promise<string | undefined> {
  try {
    // Written by a daemon of ours; a half-written or foreign file fails below and the default is used.
    const info = parseMessage<Partial<DaemonInfo>>(await readFile(paths.daemonInfo, "utf8"));
    // A folder that is gone, as a runtime folder is after a logout, has no daemon's socket any more.
    if (typeof info.socket_path === "string" && (await stat(dirname(info.socket_path))).isDirectory())
      return info.socket_path;
  } catch {
    // No daemon has run here yet.
  }
  return undefined;
}

async function askHealth(transport: Transport, signal: AbortSignal | undefined): Promise<Health | undefined> {
  try {
    return await transport.json<Health>("GET", "/health", { signal, timeoutMs: healthTimeoutMs });
  } catch (error) {
    if (!(error instanceof DaemonUnavailableError)) throw error;
    const nobodyListens = ["ENOENT", "ECONNREFUSED", "ECONNRESET"].includes(errnoOf(error.cause) ?? "");
    if (nobodyListens) return undefined;
    throw error;
  }
}

const answers = async (transport: Transport, signal: AbortSignal | undefined): Promise<boolean> =>
  (await askHealth(transport, signal)) !== undefined;

/** What tells the running daemon from the one that this client would start. */
function differenceOf({ version, build }: Health): string | undefined {
  const ours = { version: packageVersion(), build: buildId() };
  if (version !== ours.version) return `the running daemon is heyvm ${version}, this is ${ours.version}`;
  if (build === undefined || ours.build === undefined || build === ours.build) return undefined;
  return `the running daemon was started from another build of heyvm ${version} (${build}, this is ${ours.build})`;
}

/** A daemon that was left by another installation: one that has nothing to do is replaced, a busy one is told of. */
async function settleDifference(
  difference: string,
  health: Health,
  transport: Transport,
  start: Omit<DaemonStart, "answers">,
  options: DaemonOptions,
): Promise<void> {
  // Another command may have ended it meanwhile.
  const busy = await isBusy(health, transport, options.signal).catch((error: unknown) => {
    if (error instanceof DaemonUnavailableError) return false;
    throw error;
  });
  if (options.autostart === false || busy) {
    options.onNotice?.(`${difference}; when its sandboxes can spare it, stop it with: kill ${health.pid}`);
    return;
  }
  options.onNotice?.(`${difference}; it is idle and is replaced`);
  try {
    process.kill(health.pid, "SIGTERM");
  } catch (error) {
    if (errnoOf(error) !== "ESRCH") throw error;
  }
  const gone = async (): Promise<boolean> => !(await answers(transport, options.signal).catch(() => false));
  const deadlineMs = performance.now() + stopTimeoutMs;
  // Another program's process can't be waited for, only looked at.
  while (!(await gone()) && performance.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await startDaemon({ ...start, answers: () => answers(transport, options.signal) });
}

/** One that somebody has started by hand is theirs to end: it may have flags, or be a service. */
async function isBusy(
  health: Partial<Health>,
  transport: Transport,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  // Older ones don't tell.
  if (health.on_demand === false || (health.active_requests ?? 0) > 0) return true;
  const sandboxes = await transport.json<Sandbox[]>("GET", "/sandboxes", { signal, query: { all: true } });
  return sandboxes.some(({ status }) => status === "provisioning" || status === "running");
}
