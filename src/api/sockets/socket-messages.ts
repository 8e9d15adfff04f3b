/** Web sockets as the streams need them: messages one at a time, sends with back-pressure, dead peers noticed. */
import type { Socket } from "node:net";

import type { RawData, WebSocket } from "ws";

import { InvalidArgumentError, toHeyvmError } from "../../errors/index.ts";
import { toErrorEvent } from "../problem.ts";

/** Above this much that the client has not taken yet, the guest is not read any more. */
const highWaterBytes = 1_048_576;
const firstMessageTimeoutMs = 10_000;
const pongLimitMs = 10_000;
const keepAliveMs = 10_000;
const lookMs = 10_000;

export type SocketMessage = { text: string } | { bytes: Buffer };

/** Sends a frame; resolves at once while the client keeps up, else when the frame has gone. */
export async function sendFrame(socket: WebSocket, frame: Buffer): Promise<void> {
  if (socket.readyState !== socket.OPEN) return;
  if (socket.bufferedAmount < highWaterBytes) {
    socket.send(frame);
    return;
  }
  await new Promise<void>((resolve) => socket.send(frame, () => resolve()));
}

/** Sends a JSON message, if there is still somebody. */
export function sendMessage(socket: WebSocket, message: object): void {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
}

/** Whether somebody is still at the other end, who reads. Resumes the socket. */
export async function isAnswered(socket: WebSocket): Promise<boolean> {
  if (socket.readyState !== socket.OPEN) return false;
  return await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), pongLimitMs);
    const settle = (isThere: boolean): void => {
      clearTimeout(timer);
      resolve(isThere);
    };
    socket.once("pong", () => settle(true));
    socket.once("close", () => settle(false));
    socket.resume();
    socket.ping();
  });
}

/** Ends the stream with what went wrong. */
export function closeWithError(socket: WebSocket, thrown: unknown, requestId: string): void {
  sendMessage(socket, toErrorEvent(toHeyvmError(thrown), requestId));
  // A paused socket would never read the other end's half of the close.
  socket.resume();
  socket.close(1011, "see the error message");
}

/**
 * The first message, which must come soon and be text. The socket is paused then, and what came with it is kept for
 * `receive`.
 */
export function createInbox(socket: WebSocket): {
  first(): Promise<string>;
  /** Hands over each further message, in order, and resumes the socket. */
  receive(onMessage: (message: SocketMessage) => void): void;
} {
  const waiting: SocketMessage[] = [];
  let deliver = (message: SocketMessage): void => void waiting.push(message);
  socket.on("message", (data: RawData, isBinary) => {
    const bytes = toBuffer(data);
    deliver(isBinary ? { bytes } : { text: bytes.toString("utf8") });
  });
  return {
    async first() {
      const message = await new Promise<SocketMessage>((resolve, reject) => {
        const tooLate = (): void => reject(new InvalidArgumentError("type", "no init message came"));
        const timer = setTimeout(tooLate, firstMessageTimeoutMs);
        socket.once("close", () => {
          clearTimeout(timer);
          tooLate();
        });
        const take = (taken: SocketMessage): void => {
          clearTimeout(timer);
          deliver = (later) => void waiting.push(later);
          socket.pause();
          resolve(taken);
        };
        const [early] = waiting.splice(0, 1);
        if (early === undefined) deliver = take;
        else take(early);
      });
      if ("text" in message) return message.text;
      throw new InvalidArgumentError("type", "the first message must be the text message init");
    },
    receive(onMessage) {
      deliver = onMessage;
      // It flows later; before what was kept, as that may pause it again.
      socket.resume();
      for (const message of waiting.splice(0)) onMessage(message);
    },
  };
}

/**
 * Has the kernel find out that the other end is gone, and the socket closed then. No answer is asked for: a client that
 * is stopped (Ctrl-Z), or whose own output is blocked, gives none and must not be cut off. Returns the function that ends
 * the watch.
 */
export function watchPeer(socket: WebSocket, connection: Socket): () => void {
  // For a machine that vanished; a unix socket has nothing of the kind and needs none.
  connection.setKeepAlive(true, keepAliveMs);
  const timer = setInterval(() => {
    // Who reads hears of the end, and who has something left to write does, too. Only a paused socket that is silent
    // hears nothing until it writes. Elsewhere a ping would do harm: no keepalive is sent while it waits for its receipt.
    if (socket.isPaused && socket.bufferedAmount === 0) socket.ping();
  }, lookMs);
  return () => clearInterval(timer);
}

function toBuffer(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}
