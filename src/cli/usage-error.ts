import { CommanderError } from "commander";

import { HeyvmError, InvalidArgumentError } from "../errors/index.ts";

/** The command line itself is wrong. */
export class UsageError extends InvalidArgumentError {
  constructor(message: string, hint?: string) {
    super("arguments", message, { hint });
  }
}

/** What commander says, in the words and with the exit code of all other errors; `undefined` when nothing is wrong. */
export function fromCommander(error: unknown, verb: string | undefined): HeyvmError | undefined {
  if (!(error instanceof CommanderError)) return undefined;
  if (error.code === "commander.help") return new UsageError("there is no command", "see heyvm --help");
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = rest.join(" ").replaceAll(/^\(|\)$/g, "");
  const isUnknown = error.code === "commander.unknownCommand";
  const help = verb === undefined || isUnknown ? "heyvm --help" : `heyvm ${verb} --help`;
  return new UsageError(first, suggestion === "" ? `see ${help}` : `${suggestion} See ${help}`);
}

/** Help and version end commander's work by an error that is none. */
export function isHelpShown(error: unknown): boolean {
  return error instanceof CommanderError && error.exitCode === 0;
}
