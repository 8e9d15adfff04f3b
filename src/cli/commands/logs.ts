import { type Command, Option } from "commander";

import type { LogEntry } from "../../sdk/index.ts";
import { numberOption } from "../arguments/quantity.ts";
import { setExitCode } from "../exit-code.ts";
import { exitCodeOfSignal } from "../interruption.ts";
import { createInvocation, type Invocation } from "../invocation.ts";
import { printable } from "../output/text.ts";

interface LogFlags {
  follow?: boolean;
  tail?: number;
  source?: LogEntry["source"];
  timestamps?: boolean;
}

const defaultBacklog = 100;

export function define(command: Command): void {
  command
    .argument("<id>", "sandbox")
    .addOption(new Option("-f, --follow", "go on as lines come"))
    .addOption(
      numberOption("-n, --tail <lines>", "only the newest lines of each source", {
        minimum: 0,
        examples: ["100"],
      }),
    )
    .addOption(
      new Option("--source <source>", "only the start command's outputs or the console").choices([
        "stdout",
        "stderr",
        "console",
      ]),
    )
    .addOption(new Option("-t, --timestamps", "show when each line came"))
    .action(async (id: string, flags: LogFlags) => {
      const invocation = createInvocation(command, { stopping: "" });
      const { signal } = invocation;
      const heyvm = await invocation.connect();
      const sandbox = heyvm.sandboxes.at(id);
      const show = (entry: LogEntry): void => {
        if (flags.source === undefined || entry.source === flags.source) printEntry(invocation, entry, flags);
      };
      if (flags.follow === true) {
        for await (const entry of sandbox.followLogs({ backlog: flags.tail ?? defaultBacklog, signal }))
          show(entry);
        const signalName = invocation.interruption.received();
        if (signalName !== undefined) setExitCode(exitCodeOfSignal(signalName));
      } else {
        const limit = flags.tail === undefined ? {} : { limit: flags.tail };
        for (const entry of await sandbox.logs({ signal, ...limit })) show(entry);
      }
    });
}

function printEntry(invocation: Invocation, entry: LogEntry, flags: LogFlags): void {
  if (invocation.json) {
    invocation.printJson(entry);
    return;
  }
  const { style } = invocation;
  // What a guest prints may steer the terminal: only a pipe gets it as it is.
  const message = process.stdout.isTTY ? printable(entry.message) : entry.message;
  const time = flags.timestamps === true ? `${style.dim(entry.timestamp)} ` : "";
  invocation.print(`${time}${entry.source === "stderr" ? style.yellow(message) : message}`);
}
