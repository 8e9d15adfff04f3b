/** Where a daemon of this host writes which process a domain's QEMU is. */
import { dirname, join } from "node:path";

import { parseConnectionUri } from "../uri.ts";
import { daemonFolder } from "./sockets.ts";

/**
 * The file is there while the domain runs, and may stay when the daemon was killed. It lies below the folder of the
 * daemon's sockets: in libvirt's sources `virQEMUDriverConfigNew` (src/qemu/qemu_conf.c) has `qemu` there for the system
 * and `qemu/run` for a session, and `virPidFileBuildPath` (src/util/virpidfile.c) makes the name. `undefined` for a daemon of
 * another host. Throws `LibvirtUriError`.
 */
export function qemuPidFile(
  uri: string,
  domain: string,
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  const parsed = parseConnectionUri(uri);
  if (parsed.transport !== "unix") return undefined;
  const { scope, socketPath } = parsed;
  const { folder, isSession } =
    socketPath === undefined
      ? daemonFolder(parsed, env)
      : { folder: dirname(socketPath), isSession: scope === "session" };
  return join(folder, isSession ? "qemu/run" : "qemu", `${domain}.pid`);
}
