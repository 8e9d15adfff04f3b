import { CommanderError } from "commander";

import { HeyvmError, InvalidArgumentError } from "../errors/index.ts";
import { verbAliases, verbs } from "./verbs.ts";

/** The command line itself is wrong. */
export class UsageError extends InvalidArgumentError {
  constructor(message: string, hint?: string) {
    super("arguments", message, { hint });
  }
}

/** A relative path, in a folder that was removed under the shell. */
class CurrentFolderGoneError extends HeyvmError {
  constructor(cause: unknown) {
    super("path_not_found", "the current folder does not exist any more", {
      cause,
      hint: "cd to one that does, or give absolute paths",
    });
  }
}

/** What Node says where `process.cwd()` fails; `undefined` for any other error. */
export function fromCurrentFolder(error: unknown): HeyvmError | undefined {
  const isCurrentFolder = error instanceof Error && "syscall" in error && error.syscall === "uv_cwd";
  return isCurrentFolder ? new CurrentFolderGoneError(error) : undefined;
}

/** What commander says, in the words and with the exit code of all other errors; `undefined` when nothing is wrong. */
export function fromCommander(error: unknown, verb: string | undefined): HeyvmError | undefined {
  if (!(error instanceof CommanderError)) return undefined;
  const isVerb = verbs.some(
    ({ name }) => name === verb || (verb !== undefined && verbAliases[name] === verb),
  );
  const help = isVerb ? `heyvm ${verb} --help` : "heyvm --help";
  if (error.code === "commander.help") return new UsageError("a command is missing", `see ${help}`);
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = rest.join(" ").replaceAll(/^\(|\)$/g, "");
  return new UsageError(first, suggestion === "" ? `see ${help}` : `${suggestion} See ${help}`);
}

/** Help and version end commander's work by an error that is none. */
export function isHelpShown(error: unknown): boolean {
  return error instanceof CommanderError && error.exitCode === 0;
}
