/** Listening on a unix socket that only its owner may use. */
import { chmod, lstat, rm } from "node:fs/promises";
import { connect, type Server } from "node:net";

import { longestSocketPathBytes } from "../config/daemon-socket.ts";
import { errnoOf, HeyvmError, messageOf } from "../errors/index.ts";

const connectTimeoutMs = 2000;

/** The socket's path cannot be used. */
export class SocketPathError extends HeyvmError {
  constructor(path: string, reason: string, cause?: unknown) {
    super("daemon_unavailable", `cannot listen on ${path}: ${reason}`, {
      cause,
      hint: "choose another path with HEYVM_SOCKET",
      details: { path },
    });
  }
}

/**
 * In a folder that is there (`openSocketFolder`). Mode 0600 from the first moment on. A socket that a dead daemon left is
 * replaced, anything else is not.
 */
export async function listenOnUnixSocket(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > longestSocketPathBytes) {
    throw new SocketPathError(path, `a socket's path has at most ${longestSocketPathBytes} bytes`);
  }
  await removeStaleSocket(path);
  await new Promise<void>((resolve, reject) => {
    const fail = (error: Error): void => reject(new SocketPathError(path, messageOf(error), error));
    server.once("error", fail);
    // The file is made before listen() returns, so nobody else's file gets this mask.
    const mask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off("error", fail);
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
  await chmod(path, 0o600);
}

/** Removes the socket of a dead daemon; throws `SocketPathError` when something else is there, or a program that answers. */
export async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isSocket()) throw new SocketPathError(path, "a file that is no socket is there");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return;
    throw error;
  }
  if (await answers(path)) throw new SocketPathError(path, "another program listens there");
  await rm(path, { force: true });
}

async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    const finish = (verdict: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(verdict);
    };
    // One that does not even take the connection is alive, but busy.
    const timer = setTimeout(() => finish(true), connectTimeoutMs);
    socket.once("connect", () => finish(true));
    socket.once("error", () => finish(false));
  });
}
