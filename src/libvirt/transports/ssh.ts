/** A daemon on another machine, through the standard input and output of `ssh`. */
import { spawn } from "node:child_process";

import { createDeferred } from "../deferred.ts";
import { LibvirtConnectError } from "../errors.ts";
import { socketNames, systemSocketFolder } from "../daemon/sockets.ts";
import type { Transport } from "../transport.ts";
import type { ConnectionUri } from "../uri.ts";

/** How much of what ssh says on its standard error is kept for the error message. */
const maxMessageBytes = 4096;
/** How long ssh may take to leave after its output has ended. */
const exitLingerMs = 1_000;

export function dialSsh(uri: ConnectionUri, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Transport> {
  signal.throwIfAborted();
  const [program = "ssh", ...args] = sshArguments(uri);
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], env });
  const ended = createDeferred<string | undefined>();
  const started = createDeferred<Transport>();
  let message = "";

  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    message = (message + text).slice(-maxMessageBytes);
  });
  // What can't be written is told by the exit.
  child.stdin.on("error", () => undefined);
  child.stdout.on("error", () => undefined);
  child.stdout.once("end", () => {
    const linger = setTimeout(() => child.kill("SIGKILL"), exitLingerMs);
    child.once("close", () => clearTimeout(linger));
  });
  child.once("close", (code, killedBy) => {
    const how = killedBy === null ? `exit code ${code}` : killedBy;
    const said = message.trim();
    ended.resolve(`${program} ended (${how})${said === "" ? "" : `: ${said}`}`);
  });
  child.once("error", (error) => {
    ended.resolve(error.message);
    started.reject(new LibvirtConnectError(`could not start ${program}: ${error.message}`, { cause: error }));
  });

  const destroy = (): void => {
    child.stdin.destroy();
    child.stdout.destroy();
    child.kill("SIGTERM");
  };
  child.once("spawn", () =>
    started.resolve({ input: child.stdout, output: child.stdin, ended: ended.promise, destroy }),
  );
  return started.promise;
}

/** What libvirt's own client starts, program first. */
export function sshArguments(uri: ConnectionUri): string[] {
  const { host = "", port, user, ssh } = uri;
  const args = [ssh.command ?? "ssh"];
  if (port !== undefined) args.push("-p", String(port));
  if (user !== undefined) args.push("-l", user);
  if (ssh.keyFile !== undefined) args.push("-i", ssh.keyFile);
  if (!ssh.verifyHost) args.push("-o", "StrictHostKeyChecking=no");
  // Nobody is there to answer a question.
  args.push("-T", "-o", "BatchMode=yes", "-e", "none", "--", host);
  return [...args, "sh", "-c", quote(remoteScript(uri))];
}

/** What runs on the other side: ssh hands it to the user's shell as one string. */
function remoteScript(uri: ConnectionUri): string {
  const helper = `exec virt-ssh-helper ${quote(uri.driverUri)}`;
  const netcat = netcatScript(uri);
  if (uri.ssh.proxy === "native") return helper;
  // The helper takes neither a socket nor a kind of daemon: it looks for itself.
  if (uri.ssh.proxy === "netcat" || uri.socketPath !== undefined || uri.mode !== "auto") return netcat;
  return `if command -v virt-ssh-helper >/dev/null 2>&1; then ${helper}; fi; ${netcat}`;
}

function netcatScript(uri: ConnectionUri): string {
  const netcat = quote(uri.ssh.netcat);
  // Only some netcats leave by themselves at the end of their input; those that don't have -q.
  return (
    `${findRemoteSocket(uri)}; ` +
    `if ${netcat} -q 2>&1 | grep -q "requires an argument"; then exec ${netcat} -q0 -U "$s"; fi; ` +
    `exec ${netcat} -U "$s"`
  );
}

/** Sets `s`, by the same rules as for a daemon of this machine. */
function findRemoteSocket(uri: ConnectionUri): string {
  if (uri.socketPath !== undefined) return `s=${quote(uri.socketPath)}`;
  const session = "${XDG_RUNTIME_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}}/libvirt";
  const folder = `d="${uri.scope === "system" ? systemSocketFolder : session}"`;
  if (uri.mode !== "auto") return `${folder}; s="$d/${socketNames[uri.mode]}"`;
  return `${folder}; s="$d/${socketNames.direct}"; [ -S "$s" ] || s="$d/${socketNames.legacy}"`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
