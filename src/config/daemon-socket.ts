/** Where a daemon's unix socket is, and whether its place can be trusted. */
import { createHash } from "node:crypto";
import { mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

import { errnoOf, HeyvmError, messageOf, shellQuoted } from "../errors/index.ts";
import type { StatePaths } from "./paths.ts";
import {
  checkRuntimeFolder,
  openRuntimeFolder,
  runtimeFolder,
  temporaryRuntimeFolder,
} from "./runtime-folder.ts";
import { whyOthersMayChange } from "./trust.ts";

/** The kernel's limit of a socket's path: `sun_path` has 108 bytes, with the zero at its end. */
export const longestSocketPathBytes = 107;

/** Another user could put a socket of their own there, and would be told what the daemon is. */
export class SocketUntrustedError extends HeyvmError {
  constructor(path: string, why: string, daemonInfo: string) {
    super(
      "permission_denied",
      `${daemonInfo} says that the daemon listens on ${path}, which is not trusted: ${why}`,
      {
        hint: `if that is your daemon: export HEYVM_SOCKET=${shellQuoted(path)}; if it has ended: rm ${shellQuoted(daemonInfo)}`,
        details: { path },
      },
    );
  }
}

/** The folder that the user has named for it cannot be made. */
export class SocketFolderError extends HeyvmError {
  constructor(folder: string, cause: unknown) {
    super("permission_denied", `the daemon's socket cannot be in ${folder}: ${messageOf(cause)}`, {
      hint: "set HEYVM_SOCKET to a path in a folder of your own, or leave it away",
      cause,
    });
  }
}

/** In the state folder; where that makes too long a path, in the runtime folder, named after the state folder. */
export function defaultSocketPath(state: StatePaths, env: NodeJS.ProcessEnv = process.env): string {
  if (fits(state.daemonSocket)) return state.daemonSocket;
  const name = `${createHash("sha256").update(state.root).digest("hex").slice(0, 16)}.sock`;
  const path = join(runtimeFolder(env), name);
  return fits(path) ? path : join(temporaryRuntimeFolder(), name);
}

function fits(path: string): boolean {
  return Buffer.byteLength(path) <= longestSocketPathBytes;
}

/** Makes the socket's folder when it is missing. Throws `RuntimeFolderError` for one of ours that others may use. */
export async function openSocketFolder(path: string): Promise<void> {
  const folder = dirname(path);
  if (isRuntimeFolder(folder)) return await openRuntimeFolder(folder);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new SocketFolderError(folder, error);
  }
}

/**
 * For a path that the user has not chosen himself. Throws `RuntimeFolderError` or `SocketUntrustedError` where another user
 * could be the one who answers; a folder that is not there is nobody's.
 */
export async function checkSocketFolder(path: string, state: StatePaths): Promise<void> {
  const folder = dirname(path);
  // Who may write there has the token, the settings and the records, too.
  if (folder === state.root) return;
  try {
    if (isRuntimeFolder(folder)) await checkRuntimeFolder(folder);
    else await checkChosenFolder(path, state);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
}

/** The daemon's user has named it; `daemon.json` outlives a daemon that was killed, and then the place is free to be taken. */
async function checkChosenFolder(path: string, state: StatePaths): Promise<void> {
  await stat(dirname(path));
  const why = await whyOthersMayChange(dirname(path), []);
  if (why !== undefined) throw new SocketUntrustedError(path, why, state.daemonInfo);
}

function isRuntimeFolder(folder: string): boolean {
  return folder === runtimeFolder() || folder === temporaryRuntimeFolder();
}
