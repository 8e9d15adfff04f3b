/** Connecting to a unix socket, and starting the user's own daemon when nobody listens there. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";

import type { StartedDaemon } from "../connection.ts";
import { LibvirtConnectError } from "../errors.ts";
import type { Transport } from "../transport.ts";
import { dialUnix } from "../transports/unix.ts";
import type { ConnectionUri } from "../uri.ts";
import { dialUntilUp, isNobodyThere } from "./dial-until-up.ts";
import { findDaemonSocket, type DaemonKind, type DaemonSocket } from "./sockets.ts";
import { findProgram, supervise } from "./supervisor.ts";

export interface DialedDaemon {
  transport: Transport;
  started: StartedDaemon | undefined;
}

/** As libvirt's own client has it: the daemon leaves when nobody has used it for this long. */
const idleTimeoutSeconds = 120;

const programNames: Record<DaemonKind, string> = { direct: "virtqemud", legacy: "libvirtd" };

/** Rejects with a `LibvirtConnectError` that says what was tried. */
export async function dialDaemonSocket(
  uri: ConnectionUri,
  options: { env: NodeJS.ProcessEnv; autostart: boolean; signal: AbortSignal },
): Promise<DialedDaemon> {
  const socket = findDaemonSocket(uri, options.env);
  try {
    return { transport: await dialUnix(socket.path, options.signal), started: undefined };
  } catch (error) {
    if (!isNobodyThere(error)) throw error;
    if (!socket.isSession || !options.autostart || options.env["LIBVIRT_AUTOSTART"] === "0") {
      throw unreachable(socket, error);
    }
    return await startAndDial(uri, socket, options);
  }
}

async function startAndDial(
  uri: ConnectionUri,
  socket: DaemonSocket,
  { env, signal }: { env: NodeJS.ProcessEnv; signal: AbortSignal },
): Promise<DialedDaemon> {
  const program = findDaemonProgram(socket, env);
  mkdirSync(dirname(socket.path), { recursive: true, mode: 0o700 });
  const daemon = supervise(program, [`--timeout=${idleTimeoutSeconds}`], { env });
  try {
    // Which socket it is depends on which daemon has come.
    const { transport, path } = await dialUntilUp(() => findDaemonSocket(uri, env).path, daemon, signal);
    // Another client may have been faster; its daemon is the one that we are connected to, and ours leaves.
    return { transport, started: { program, pid: daemon.pid, socketPath: path } };
  } finally {
    daemon.release();
  }
}

function findDaemonProgram(socket: DaemonSocket, env: NodeJS.ProcessEnv): string {
  const given: Record<DaemonKind, string | undefined> = {
    direct: env["VIRTD_PATH"],
    legacy: env["LIBVIRTD_PATH"],
  };
  for (const kind of socket.kinds) {
    const program = given[kind] || findProgram(programNames[kind], env);
    if (program !== undefined) return program;
  }
  const names = socket.kinds.map((kind) => programNames[kind]).join(" or ");
  throw new LibvirtConnectError(`libvirt's session daemon is not running, and there is no ${names} to start`);
}

function unreachable(socket: DaemonSocket, error: unknown): LibvirtConnectError {
  const why = error instanceof Error ? error.message : String(error);
  return new LibvirtConnectError(`no libvirt daemon listens at ${socket.path} (${why})`, { cause: error });
}
