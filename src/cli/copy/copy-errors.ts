import { HeyvmError } from "../../errors/index.ts";
import { errnoOf, isDiskFull, messageOf } from "../../errors/thrown.ts";

/** A path on this machine that can't be read or written. */
export class LocalPathError extends HeyvmError {
  constructor(path: string, doing: string, cause: unknown) {
    const errno = errnoOf(cause);
    const code =
      errno === "ENOENT"
        ? "path_not_found"
        : isDiskFull(cause)
          ? "disk_full"
          : errno === "EACCES" || errno === "EPERM"
            ? "permission_denied"
            : "invalid_argument";
    super(code, `cannot ${doing} ${path}: ${messageOf(cause)}`, { cause, details: { path, errno } });
  }
}

/** The guest named a file in a way that no honest file system does. */
export class GuestNameError extends HeyvmError {
  constructor(folder: string, name: string) {
    super(
      "guest_misbehaved",
      `the guest lists a file called ${JSON.stringify(name)} in ${folder}: nothing was copied`,
      {
        details: { folder, name },
      },
    );
  }
}

/** What was named is a link in the guest that leads nowhere. */
export class DanglingLinkError extends HeyvmError {
  constructor(path: string, target: string, cause: unknown) {
    super("path_not_found", `${path} is a link to ${target}, which does not exist`, {
      cause,
      hint: "to copy the link itself, copy the folder that it is in",
      details: { path, target },
    });
  }
}

/** What was named has no content that a copy could have: a device, a socket, a pipe. */
export class NothingToCopyError extends HeyvmError {
  constructor(path: string) {
    super("invalid_argument", `${path} is no file, folder or link`, {
      hint: "to copy what comes out of a pipe or a device: COMMAND | heyvm cp - ID:PATH",
      details: { path },
    });
  }
}
