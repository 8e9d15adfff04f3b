/** The folder that everything of a daemon is in. */
import { access, constants, mkdir } from "node:fs/promises";

import { DiskFullError, HeyvmError, isDiskFull, messageOf } from "../errors/index.ts";

/** It cannot be made or used. */
export class StateFolderError extends HeyvmError {
  constructor(path: string, cause: unknown) {
    super("permission_denied", `the state folder ${path} cannot be used: ${messageOf(cause)}`, {
      cause,
      hint: "set MVM_DATA_DIR to a folder that you may write",
      details: { path },
    });
  }
}

/** Makes it when it is not there, for its owner alone. */
export async function ensureStateFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    if (isDiskFull(error)) throw new DiskFullError("making the state folder", path, error);
    throw new StateFolderError(path, error);
  }
}
