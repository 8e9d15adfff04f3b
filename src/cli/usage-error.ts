import { HeyvmError, InvalidArgumentError } from "../errors/index.ts";

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
