/** The folder of sockets: passt's, those that a machine's state goes through, and a daemon's whose own folder is too deep. */
import { lstat, mkdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";

import { HeyvmError, messageOf, shellQuoted } from "../errors/index.ts";

/** Short, because a socket's path ends at 108 bytes. */
export function runtimeFolder(env: NodeJS.ProcessEnv = process.env): string {
  const runtime = env["XDG_RUNTIME_DIR"] ?? "";
  return isAbsolute(runtime) ? join(runtime, "heyvm") : temporaryRuntimeFolder();
}

/** Where there is no runtime directory, or only one with a long path. */
export function temporaryRuntimeFolder(): string {
  // Not by `userInfo`: a container may run as a number that has no name.
  return `/tmp/heyvm-${process.geteuid?.() ?? 0}`;
}

/** Somebody else could listen to, or answer for, what goes through the sockets. */
export class RuntimeFolderError extends HeyvmError {
  constructor(folder: string, why: string, cause?: unknown) {
    super("permission_denied", `${folder} cannot hold sockets: ${why}`, {
      hint: `remove it, or set XDG_RUNTIME_DIR to a folder of your own: ls -ld ${shellQuoted(folder)}`,
      cause,
    });
  }
}

/** Makes the folder when it is missing; in /tmp anybody may have made it before. */
export async function openRuntimeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new RuntimeFolderError(folder, messageOf(error), error);
  }
  await checkRuntimeFolder(folder);
}

/** Throws `RuntimeFolderError` unless the folder is there and nobody else may use it. */
export async function checkRuntimeFolder(folder: string): Promise<void> {
  const { uid, mode } = await lstat(folder);
  const isFolder = (mode & 0o170000) === 0o040000;
  if (!isFolder) throw new RuntimeFolderError(folder, "it is no folder");
  if (uid !== process.geteuid?.()) throw new RuntimeFolderError(folder, `it belongs to user ${uid}`);
  if ((mode & 0o077) !== 0) throw new RuntimeFolderError(folder, "others may use it");
}
