/** Starting libvirt's system daemon on a machine that has no service manager to do it. */
import { statSync } from "node:fs";
import { join } from "node:path";

import type { StartedDaemon } from "../connection.ts";
import { LibvirtAbortError, LibvirtConnectError, LibvirtTimeoutError } from "../errors.ts";
import { dialUnix } from "../transports/unix.ts";
import { dialUntilUp, isNobodyThere } from "./dial-until-up.ts";
import { socketNames, systemSocketFolder } from "./sockets.ts";
import { findProgram, supervise } from "./supervisor.ts";

export interface StartSystemDaemonOptions {
  signal?: AbortSignal | undefined;
  /** Default 30 s. */
  timeoutMs?: number | undefined;
  /** The daemon leaves after this long without clients and machines; default 120 s, as a session daemon does. */
  idleTimeoutSeconds?: number | undefined;
  env?: NodeJS.ProcessEnv | undefined;
}

interface DaemonChoice {
  program: string;
  socketPath: string;
  helpers: string[];
}

/** What a daemon needs beside it. As root, nobody starts them on demand. */
const helperNames = {
  libvirtd: ["virtlogd"],
  virtqemud: ["virtlogd", "virtstoraged", "virtnetworkd", "virtnodedevd", "virtsecretd", "virtnwfilterd"],
} as const;

/**
 * Starts libvirtd with virtlogd (or virtqemud with its like), for root only. Resolves when the daemon accepts
 * connections, with what it started, so that the user can be told: the daemon first, then what it needs. Empty when a
 * daemon ran already.
 */
export async function startSystemDaemon(options: StartSystemDaemonOptions = {}): Promise<StartedDaemon[]> {
  const { signal, timeoutMs = 30_000, idleTimeoutSeconds = 120, env = process.env } = options;
  if (process.geteuid?.() !== 0) throw new LibvirtConnectError("only root can start libvirt's system daemon");
  // Looked at below, and so kept until it fires: `AbortSignal.any` alone would not hold it.
  const deadline = AbortSignal.timeout(timeoutMs);
  const either = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
  if (await someoneListens(either)) return [];

  const { program, socketPath, helpers } = chooseDaemon(env);
  const daemon = supervise(program, [`--timeout=${idleTimeoutSeconds}`], {
    env,
    helpers,
    openKvm: kvmIsClosed(),
  });
  try {
    const { transport } = await dialUntilUp(() => socketPath, daemon, either);
    transport.destroy();
  } catch (error) {
    if (signal?.aborted === true) throw new LibvirtAbortError(`starting ${program}`, signal.reason);
    if (deadline.aborted) throw new LibvirtTimeoutError(`starting ${program}`, timeoutMs);
    throw error;
  } finally {
    daemon.release();
  }
  return [program, ...helpers].map((started) => ({ program: started, pid: daemon.pid, socketPath }));
}

async function someoneListens(signal: AbortSignal): Promise<boolean> {
  for (const name of Object.values(socketNames)) {
    try {
      const transport = await dialUnix(join(systemSocketFolder, name), signal);
      transport.destroy();
      return true;
    } catch (error) {
      if (!isNobodyThere(error)) throw error;
    }
  }
  return false;
}

/** The monolithic daemon first: it is one process rather than six. */
function chooseDaemon(env: NodeJS.ProcessEnv): DaemonChoice {
  for (const [name, kind] of [
    ["libvirtd", "legacy"],
    ["virtqemud", "direct"],
  ] as const) {
    const program = findProgram(name, env);
    if (program === undefined) continue;
    const helpers = helperNames[name].map((helper) => findProgram(helper, env));
    return {
      program,
      socketPath: join(systemSocketFolder, socketNames[kind]),
      helpers: helpers.filter((helper) => helper !== undefined),
    };
  }
  throw new LibvirtConnectError("there is neither libvirtd nor virtqemud to start; install libvirt's daemon");
}

/** Whether `/dev/kvm` is there and root's alone, so that QEMU, which is another user's, can't open it. */
function kvmIsClosed(): boolean {
  const kvm = statSync("/dev/kvm", { throwIfNoEntry: false });
  return kvm !== undefined && kvm.gid === 0 && (kvm.mode & 0o006) !== 0o006;
}
