/** Options of a command in a sandbox, shared by `exec` and `run`. */
import { type Command, Option } from "commander";

import { durationOption } from "./arguments/quantity.ts";

export interface CommandFlags {
  cwd?: string;
  user?: string;
  timeout?: number;
  tty?: boolean;
  /** `false` for `--no-stdin`. */
  stdin?: boolean;
}

export function addCommandOptions(command: Command): Command {
  return command
    .optionsGroup("Command:")
    .addOption(new Option("--cwd <path>", "where it runs; default: the sandbox's working directory"))
    .addOption(new Option("--user <user>", "as whom it runs: name or number; default: root"))
    .addOption(durationOption("--timeout <duration>", "end it after this long (exit code 124): 30s, 5m"))
    .addOption(new Option("-t, --tty", "give it a terminal"))
    .addOption(new Option("-n, --no-stdin", "leave stdin alone: the command reads nothing"));
}

export function attachOptionsOf(flags: CommandFlags): {
  cwd: string | undefined;
  user: string | undefined;
  timeoutMs: number | undefined;
  tty: boolean;
  stdin: boolean;
} {
  return {
    cwd: flags.cwd,
    user: flags.user,
    timeoutMs: flags.timeout,
    tty: flags.tty === true,
    stdin: flags.stdin !== false,
  };
}
