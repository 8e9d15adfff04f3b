import { resolve } from "node:path";

import { type Command, Option } from "commander";

import type { ServeOptions } from "../../daemon/daemon.ts";
import { statePaths } from "../../config/paths.ts";
import { HeyvmError } from "../../errors/index.ts";
import { portOption } from "../arguments/port.ts";
import { createInvocation, type Invocation } from "../invocation.ts";

interface ServeFlags {
  api?: boolean;
  host?: string;
  port?: number;
  tlsCert?: string;
  tlsKey?: string;
  insecureHttp?: boolean;
  socket?: string;
  idle?: boolean;
}

/** Those of the TCP listener: without it, whoever gives one would believe that something is served there. */
const tcpFlags = [
  ["host", "--host"],
  ["port", "--port"],
  ["tlsCert", "--tls-cert"],
  ["tlsKey", "--tls-key"],
  ["insecureHttp", "--insecure-http"],
] as const satisfies [keyof ServeFlags, string][];

export function define(command: Command): void {
  command
    .addOption(new Option("--api", "also listen on TCP, with a bearer token"))
    .addOption(new Option("--host <address>", "address for --api; default: 127.0.0.1"))
    .addOption(portOption("--port <port>", "port for --api; default: 3000; 0: any that is free"))
    .addOption(new Option("--tls-cert <file>", "serve --api over HTTPS, with this certificate (PEM)"))
    .addOption(new Option("--tls-key <file>", "the certificate's private key (PEM)"))
    .addOption(
      new Option("--insecure-http", "let --host be an address that others can reach, without any encryption"),
    )
    .addOption(
      new Option(
        "--socket <path>",
        "unix socket; default: heyvm.sock in the state folder, or, where that path is too long, in the runtime folder",
      ),
    )
    .addOption(
      new Option("--idle", "leave when nothing is left to do, as a daemon does that was started on demand"),
    )
    .addHelpText(
      "after",
      `
Other commands start it by themselves when it is needed. Sandboxes outlive it.

Examples:
  heyvm serve
  heyvm serve --api --port 3000
  heyvm serve --api --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
  curl -H "Authorization: Bearer $(cat ~/.heyo/token)" http://127.0.0.1:3000/sandboxes`,
    )
    .action(async (flags: ServeFlags) => await serve(command, flags));
}

/** Runs the daemon until a signal ends it, or until it is idle. */
export async function serve(command: Command, flags: ServeFlags): Promise<void> {
  const invocation = createInvocation(command, { stopping: "stopping; sandboxes go on" });
  const [{ DaemonRunningError, runDaemon }, { daemonParts }, { UsageError }] = await Promise.all([
    import("../../daemon/daemon.ts"),
    import("../../daemon/daemon-parts.ts"),
    // What tells of the daemon's own failure, later: by then the installation may be gone.
    import("../usage-error.ts"),
    import("../output/errors.ts"),
    import("../command-failure.ts"),
  ]);
  const idle = flags.api === true ? undefined : tcpFlags.find(([name]) => flags[name] !== undefined);
  if (idle !== undefined) {
    throw new UsageError(
      `${idle[1]} is for --api, which is not there`,
      "heyvm serve --api …, or leave it out",
    );
  }
  const warn = (message: string): void =>
    invocation.note(`${invocation.errorStyle.yellow("warning:")} ${message}`);
  try {
    const options: ServeOptions = {
      flags: {
        backend_type: invocation.backend,
        "libvirt.uri": invocation.uri,
        "api.host": flags.host,
        "api.port": flags.port,
        "api.tls_cert": flags.tlsCert === undefined ? undefined : resolve(flags.tlsCert),
        "api.tls_key": flags.tlsKey === undefined ? undefined : resolve(flags.tlsKey),
        socket: flags.socket,
      },
      tcp: flags.api === true,
      insecureHttp: flags.insecureHttp === true,
      exitWhenIdle: flags.idle === true,
      signal: invocation.signal,
      onRestart: (_failure, { restart_reason: reason }) => {
        warn(`${reason}; see ${statePaths().daemonLog}`);
      },
      onWarning: warn,
      onReady: (info) => {
        if (invocation.json) {
          invocation.printJson(info);
          return;
        }
        invocation.print(`listening on ${info.socket_path}`);
        if (info.url === undefined) return;
        invocation.print(`listening on ${info.url}`);
        invocation.print(`a request there needs the token in ${statePaths().apiToken}`);
        if (flags.insecureHttp === true && info.url.startsWith("http:")) {
          warn(
            "nothing at this address is encrypted, the token included: " +
              "put a TLS proxy in front, or use --tls-cert and --tls-key",
          );
        }
      },
    };
    await runDaemon(options, daemonParts);
  } catch (error) {
    // With --idle as on demand: clients of an earlier version start it so, several at once, and the first serves them all.
    const isSecond = error instanceof DaemonRunningError;
    if (isSecond && flags.idle === true) return;
    throw isSecond && flags.api === true ? await withPid(invocation, error) : error;
  }
}

/** Who wants TCP is not helped by a daemon that has only its socket. */
async function withPid(invocation: Invocation, error: HeyvmError): Promise<HeyvmError> {
  const heyvm = await invocation.connect({ autostart: false }).catch(() => undefined);
  const health = await heyvm?.health({ signal: invocation.signal }).catch(() => undefined);
  if (health === undefined) return error;
  const hint = `end that one first, sandboxes go on without it: kill ${health.pid}`;
  return new HeyvmError(error.code, error.message, { hint, details: error.details, cause: error });
}
