import { type Command, Option } from "commander";

import type { ServeOptions } from "../../api/daemon.ts";

import { portOption } from "../arguments/port.ts";
import { HeyvmError } from "../../errors/index.ts";
import { createInvocation } from "../invocation.ts";

interface ServeFlags {
  api?: boolean;
  host?: string;
  port?: number;
  socket?: string;
  idle?: boolean;
}

export function define(command: Command): void {
  command
    .addOption(new Option("--api", "also listen on TCP, with a bearer token"))
    .addOption(new Option("--host <address>", "address for --api; default: 127.0.0.1"))
    .addOption(portOption("--port <port>", "port for --api; default: 3000; 0: any that is free"))
    .addOption(new Option("--socket <path>", "unix socket; default: heyvm.sock in the state folder"))
    .addOption(
      new Option("--idle", "leave when nothing is left to do, as a daemon does that was started on demand"),
    )
    .addHelpText(
      "after",
      `
Other commands start it by themselves when it is needed. Sandboxes outlive it.

Examples:
  heyvm serve
  heyvm serve --api --port 3000`,
    )
    .action(async (flags: ServeFlags) => await serve(command, flags));
}

/** Runs the daemon until a signal ends it, or until it is idle. */
export async function serve(command: Command, flags: ServeFlags): Promise<void> {
  const invocation = createInvocation(command, { stopping: "stopping; sandboxes go on" });
  const [{ runDaemon }, { daemonParts }] = await Promise.all([
    import("../../api/daemon.ts"),
    import("../daemon-parts.ts"),
  ]);
  try {
    const options: ServeOptions = {
      flags: {
        backend_type: invocation.backend,
        "libvirt.uri": invocation.uri,
        "api.host": flags.host,
        "api.port": flags.port,
        socket: flags.socket,
      },
      tcp: flags.api === true,
      exitWhenIdle: flags.idle === true,
      signal: invocation.signal,
      onReady: (info) => {
        if (invocation.json) {
          invocation.printJson(info);
          return;
        }
        invocation.print(`listening on ${info.socket_path}`);
        if (info.url !== undefined) invocation.print(`listening on ${info.url}`);
      },
    };
    await runDaemon(options, daemonParts);
  } catch (error) {
    // Several commands have started a daemon at the same time, and this one came second: the first serves them all.
    if (flags.idle === true && error instanceof HeyvmError && error.code === "wrong_state") return;
    throw error;
  }
}
