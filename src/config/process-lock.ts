/**
 * One process at a time does a piece of work, and the others that want it see how far it is. The lock is an abstract
 * unix socket: the kernel gives its name to one process only and takes it back however that process ends, so there is
 * never a stale lock; who waits is connected to it, and is woken by the end of the connection. The name is a secret in
 * the folder that the work is about, so that no other user can take it.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { AbortedError, errnoOf, HeyvmError } from "../errors/index.ts";
import { createFileAtomic } from "./atomic-file.ts";

/** The process that holds a lock lives, but does nothing. */
export class LockHolderSilentError extends HeyvmError {
  constructor(what: string, silentMs: number) {
    super("timeout", `another process does ${what}, and has been silent for ${silentMs} ms`, {
      hint: "see which one, and end it: ss -xlp | grep heyvm-lock",
    });
  }
}

export interface ProcessLock extends AsyncDisposable {
  /** Tells those who wait how far the work is. */
  tell(state: object): void;
}

export interface LockRequest {
  /** Folder that the work is about; writable. */
  folder: string;
  name: string;
  /** In words, for errors. */
  what: string;
  signal: AbortSignal;
  /** What the process that has the lock tells. */
  onState?: ((state: unknown) => void) | undefined;
  /** How long it may be silent. */
  silentMs?: number | undefined;
}

const secretFile = ".heyvm-lock";
const heartbeatMs = 1000;
const defaultSilentMs = 15_000;
const retryMs = 20;

/** Waits for its turn. `waited` tells whether another process had it meanwhile. */
export async function lockForProcess(request: LockRequest): Promise<{ lock: ProcessLock; waited: boolean }> {
  const address = await lockAddress(request.folder, request.name);
  for (let waited = false; ; waited = true) {
    if (request.signal.aborted) throw new AbortedError(request.what, request.signal.reason);
    const lock = await tryListen(address);
    if (lock !== undefined) return { lock, waited };
    await untilReleased(address, request);
  }
}

/** The lock, if nobody has it. */
export async function tryLockForProcess(folder: string, name: string): Promise<ProcessLock | undefined> {
  return await tryListen(await lockAddress(folder, name));
}

async function tryListen(address: string): Promise<ProcessLock | undefined> {
  const sockets = new Set<Socket>();
  let state = "{}\n";
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => sockets.delete(socket));
    socket.write(state);
  });
  if (!(await listen(server, address))) return undefined;
  const send = (): void => {
    // One that does not read gets no more; it has the newest that fits.
    for (const socket of sockets) if (socket.writableLength === 0) socket.write(state);
  };
  const heartbeat = setInterval(send, heartbeatMs);
  heartbeat.unref();
  return {
    tell(next) {
      state = `${JSON.stringify(next)}\n`;
      send();
    },
    async [Symbol.asyncDispose]() {
      clearInterval(heartbeat);
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Whether the name was free. */
async function listen(server: Server, address: string): Promise<boolean> {
  return await new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      if (errnoOf(error) === "EADDRINUSE") resolve(false);
      else reject(error);
    };
    server.once("error", onError);
    server.listen(address, () => {
      server.off("error", onError);
      resolve(true);
    });
  });
}

async function untilReleased(address: string, request: LockRequest): Promise<void> {
  const { signal, what, onState, silentMs = defaultSilentMs } = request;
  const socket = connect(address);
  const abort = (): void => void socket.destroy(new AbortedError(what, signal.reason));
  signal.addEventListener("abort", abort, { once: true });
  socket.setTimeout(silentMs, () => socket.destroy(new LockHolderSilentError(what, silentMs)));
  const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY });
  lines.on("error", () => undefined);
  lines.on("line", (line) => {
    const state = parseState(line);
    if (state !== undefined) onState?.(state);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("close", () => resolve());
      socket.once("error", (error) => (error instanceof HeyvmError ? reject(error) : resolve()));
    });
    // Between the end of one holder and the beginning of the next the name may be in use and unreachable.
    await sleep(retryMs);
  } finally {
    lines.close();
    signal.removeEventListener("abort", abort);
  }
}

function parseState(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

async function lockAddress(folder: string, name: string): Promise<string> {
  const secret = await folderSecret(join(folder, secretFile));
  return `\0heyvm-lock-${createHash("sha256").update(`${secret} ${name}`).digest("hex").slice(0, 40)}`;
}

/** Made once, in a way in which two that make it at the same time end with the same. */
async function folderSecret(path: string): Promise<string> {
  const existing = await readSecret(path);
  if (existing !== undefined) return existing;
  await createFileAtomic(path, randomBytes(16).toString("hex"), "making a lock");
  return (await readFile(path, "utf8")).trim();
}

async function readSecret(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
