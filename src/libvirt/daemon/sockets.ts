/** Where the daemons' sockets are, by libvirt's own rules. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

import type { ConnectionUri } from "../uri.ts";

/** `direct`: the modular virtqemud. `legacy`: the monolithic libvirtd. */
export type DaemonKind = "direct" | "legacy";

export interface DaemonSocket {
  path: string;
  /** Which daemons may be behind it; the first is preferred for starting one. */
  kinds: readonly DaemonKind[];
  /** Whether it is the user's own daemon, which a client starts. Root has none: its session is the system. */
  isSession: boolean;
}

export const socketNames: Record<DaemonKind, string> = { direct: "virtqemud-sock", legacy: "libvirt-sock" };

export const systemSocketFolder = "/var/run/libvirt";

/** The socket to connect to: the one that is there, the modular daemon's first; else where the older one would be. */
export function findDaemonSocket(uri: ConnectionUri, env: NodeJS.ProcessEnv): DaemonSocket {
  const { folder, isSession } = daemonFolder(uri, env);
  const allowed: readonly DaemonKind[] = uri.mode === "auto" ? ["direct", "legacy"] : [uri.mode];
  if (uri.socketPath !== undefined) return { path: uri.socketPath, kinds: allowed, isSession: false };
  const there = allowed.find((kind) => existsSync(join(folder, socketNames[kind])));
  const kinds = there === undefined ? allowed : [there];
  return { path: join(folder, socketNames[kinds.at(-1) ?? "legacy"]), kinds, isSession };
}

/** The folder of a local daemon's sockets. */
export function daemonFolder(
  { scope }: ConnectionUri,
  env: NodeJS.ProcessEnv,
): Pick<DaemonSocket, "isSession"> & { folder: string } {
  const isSession = scope === "session" && process.geteuid?.() !== 0;
  return { folder: isSession ? sessionSocketFolder(env) : systemSocketFolder, isSession };
}

/** Where the sockets of the user's session daemon are. */
export function sessionSocketFolder(env: NodeJS.ProcessEnv): string {
  return join(runtimeFolder(env), "libvirt");
}

function runtimeFolder(env: NodeJS.ProcessEnv): string {
  const home = env["HOME"] || homedir();
  return env["XDG_RUNTIME_DIR"] || env["XDG_CACHE_HOME"] || join(home, ".cache");
}
