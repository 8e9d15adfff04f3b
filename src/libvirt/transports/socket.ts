/** What the transports over a `net.Socket` share. */
import { connect, type NetConnectOpts, type Socket } from "node:net";

import { createDeferred } from "../deferred.ts";
import { onAbort } from "../on-abort.ts";
import type { Transport } from "../transport.ts";

/** Rejects with the system's own error, or with the signal's reason. */
export async function dialSocket(options: NetConnectOpts, signal: AbortSignal): Promise<Transport> {
  signal.throwIfAborted();
  const socket = connect(options);
  const opened = createDeferred<void>();
  const forgetSignal = onAbort(signal, (reason) => void socket.destroy(asError(reason)));
  socket.once("error", (error) => opened.reject(error));
  socket.once("connect", () => opened.resolve());
  const transport = socketTransport(socket);
  try {
    await opened.promise;
    return transport;
  } finally {
    forgetSignal();
  }
}

function socketTransport(socket: Socket): Transport {
  const ended = createDeferred<string | undefined>();
  let reason: string | undefined;
  socket.on("error", (error) => (reason = error.message));
  // The daemon never closes one side alone.
  socket.on("end", () => socket.destroy());
  socket.on("close", () => ended.resolve(reason));
  return { input: socket, output: socket, ended: ended.promise, destroy: () => void socket.destroy() };
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
