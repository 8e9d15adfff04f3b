/**
 * The state of a paused machine's devices, out of one QEMU and into another, as a migration stream over a unix socket:
 * half a megabyte, because `x-ignore-shared` leaves out memory that is a file (QEMU's docs/devel/migration.rst).
 */
import { randomBytes } from "node:crypto";
import { readdir, rm, stat } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";

import { timeoutSignal } from "../../../core/deadline.ts";
import { AbortedError, HeyvmError, messageOf } from "../../../errors/index.ts";
import type { Domains } from "../host.ts";
import { openRuntimeFolder } from "../../../config/runtime-folder.ts";
import { CloningRefusedError } from "./obstacle.ts";

/** QEMU did not give or did not take a machine's state. */
export class StateTransferError extends HeyvmError {
  constructor(what: string, why: string, cause?: unknown) {
    super("backend_failed", `${what}: ${why}`, { cause });
  }
}

/** More than any machine's devices have; a stream that is longer has memory in it. */
const maxStateBytes = 64 * 1024 ** 2;
const transferTimeoutMs = 60_000;
const socketPrefix = "state-";

/** Reads the state of a paused machine whose memory is a file. `folder`: for the socket. */
export async function readState(
  domains: Domains,
  domain: string,
  folder: string,
  signal: AbortSignal,
): Promise<Buffer> {
  const what = `freezing ${domain}`;
  const limit = AbortSignal.any([signal, timeoutSignal(transferTimeoutMs)]);
  const path = await socketPath(folder);
  const server = createServer();
  const stream = new Promise<Buffer>((resolve, reject) => {
    server.once("connection", (socket) => void collect(socket, what).then(resolve, reject));
    server.once("error", reject);
    limit.addEventListener("abort", () => reject(aborted(what, signal, limit)), { once: true });
  });
  stream.catch(() => undefined);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    await ignoreShared(domains, domain, limit);
    // Without the default limit of 128 MiB/s nothing waits.
    await domains.monitor(domain, "migrate-set-parameters", { "max-bandwidth": 1e10 }, limit);
    await domains.monitor(domain, "migrate", { uri: `unix:${path}` }, limit);
    const state = await stream;
    const result = await domains.monitor(domain, "query-migrate", {}, limit);
    const status = typeof result === "object" && result !== null && "status" in result ? result.status : "?";
    if (status !== "completed") throw new StateTransferError(what, `QEMU's migration is ${String(status)}`);
    return state;
  } finally {
    server.close();
    await rm(path, { force: true });
  }
}

/** Gives a machine that waits for its state (`-incoming defer`) that of another; it is paused afterwards. */
export async function writeState(
  domains: Domains,
  domain: string,
  state: Buffer,
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  const what = `thawing ${domain}`;
  const limit = AbortSignal.any([signal, timeoutSignal(transferTimeoutMs)]);
  const path = await socketPath(folder);
  try {
    // Both are on their way at once; QEMU takes them in their order.
    await Promise.all([
      ignoreShared(domains, domain, limit),
      domains.monitor(domain, "migrate-incoming", { uri: `unix:${path}` }, limit),
    ]);
    await send(path, state, what, signal, limit);
  } finally {
    await rm(path, { force: true });
  }
}

async function ignoreShared(domains: Domains, domain: string, signal: AbortSignal): Promise<void> {
  const capabilities = [{ capability: "x-ignore-shared", state: true }];
  try {
    await domains.monitor(domain, "migrate-set-capabilities", { capabilities }, signal);
  } catch (error) {
    // The words are QEMU's, for a name or a value that it does not know.
    throw /x-ignore-shared|capability/i.test(messageOf(error)) ? new CloningRefusedError(error) : error;
  }
}

/** Ends when QEMU closes: that is the last thing it does after it has taken all. */
function send(
  path: string,
  state: Buffer,
  what: string,
  signal: AbortSignal,
  limit: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const leave = () => socket.destroy(aborted(what, signal, limit));
    limit.addEventListener("abort", leave, { once: true });
    socket.once("error", (error) => reject(new StateTransferError(what, error.message, error)));
    socket.once("close", () => {
      limit.removeEventListener("abort", leave);
      resolve();
    });
    socket.resume();
    socket.end(state);
    if (limit.aborted) leave();
  });
}

async function collect(socket: Socket, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of socket) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > maxStateBytes) {
      socket.destroy();
      throw new StateTransferError(what, "QEMU sends the guest's memory with its state");
    }
  }
  return Buffer.concat(chunks);
}

function aborted(what: string, signal: AbortSignal, limit: AbortSignal): Error {
  if (signal.aborted) return new AbortedError(what, signal.reason);
  return new StateTransferError(what, `it took longer than ${transferTimeoutMs / 1000} s`, limit.reason);
}

/** Removes sockets that a daemon left which was killed during a transfer. */
export async function removeStaleSockets(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((name) => name.startsWith(socketPrefix))) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && Date.now() - found.mtimeMs > 2 * transferTimeoutMs)
      await rm(path, { force: true });
  }
}

/** Short, because a socket's path ends at 108 bytes. */
async function socketPath(folder: string): Promise<string> {
  await openRuntimeFolder(folder);
  return join(folder, `${socketPrefix}${randomBytes(6).toString("hex")}`);
}
