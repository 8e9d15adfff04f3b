/** Opens a web socket to the daemon; the ws package is loaded only when one is needed. */
import { connect } from "node:net";

import type { WebSocket } from "ws";

import { answeredError, type DaemonLostError, daemonLost } from "./daemon-lost.ts";
import { ClientTimeoutError } from "./client-errors.ts";
import { type CallOptions, startDeadline } from "../core/deadline.ts";
import type { Endpoint } from "./endpoint.ts";
import { problemFromAnswer } from "./remote-error.ts";
import { bearer, unreachable } from "./transport.ts";

/** Frames carry at most 64 KiB of output; more is not from a daemon of ours. */
const maxPayloadBytes = 4 * 1_048_576;
const openTimeoutMs = 30_000;
const keepAliveMs = 10_000;
const silentLooksLimit = 2;
const typedBytesLimit = 65_536;
/** RFC 6455, 7.4.1: what a daemon says that leaves. */
const goingAway = 1001;

/** For who will need a web socket and has to wait for something else before: loading takes as long as a command. */
export async function loadWebSockets(): Promise<void> {
  await import("ws");
}

/**
 * Resolves with the open socket, which is paused: what comes with the answer would find no listener yet. Who has attached
 * theirs calls `resume`. Throws the daemon's reason when it refuses the upgrade.
 */
export async function openWebSocket(
  endpoint: Endpoint,
  path: string,
  options: CallOptions = {},
): Promise<WebSocket> {
  const { WebSocket } = await import("ws");
  using deadline = startDeadline(`connecting to ${path}`, options, {
    defaultMs: openTimeoutMs,
    TimeoutError: ClientTimeoutError,
  });
  const { signal } = deadline;
  if (signal.aborted) throw deadline.error();
  const base = endpoint.kind === "socket" ? "ws://localhost" : endpoint.url.origin.replace(/^http/, "ws");
  const socket = new WebSocket(base + path, {
    ...(endpoint.kind === "socket" ? { createConnection: () => connect(endpoint.socketPath) } : {}),
    headers: endpoint.kind === "url" ? bearer(endpoint.token) : {},
    perMessageDeflate: false,
    maxPayload: maxPayloadBytes,
  });
  // A network that has gone is noticed also by a client that has nothing to say.
  socket.once("upgrade", (answer) => void answer.socket.setKeepAlive(true, keepAliveMs));
  const onAbort = (): void => socket.terminate();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("open", () => {
        socket.pause();
        resolve();
      });
      socket.once("error", (error) =>
        reject(signal.aborted ? deadline.error() : unreachable(endpoint, error)),
      );
      socket.once("unexpected-response", (request, answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.once("close", () => {
          request.destroy();
          const body = Buffer.concat(chunks).toString("utf8");
          reject(answeredError(endpoint, `WS ${path}`, problemFromAnswer(answer.statusCode ?? 500, body)));
        });
      });
    });
    return socket;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * Breaks a connection off whose network has gone silent. Keepalive finds that only while nothing waits for a receipt: with
 * keys typed in vain, the kernel would go on trying for a quarter of an hour. `sentBytes` counts what was sent in all: a daemon
 * whose guest does not take its input reads no ping either, but that is more than anybody types.
 */
export function watchNetwork(socket: WebSocket, sentBytes: () => number): void {
  let silentLooks = 0;
  let sentBefore = sentBytes();
  socket.on("message", () => void (silentLooks = 0));
  socket.on("pong", () => {
    silentLooks = 0;
    // Only this shows that the daemon reads: a guest that takes nothing may still print.
    sentBefore = sentBytes();
  });
  const timer = setInterval(() => {
    // Whose own reader takes nothing does not hear what has come.
    const cannotTell = socket.isPaused || sentBytes() - sentBefore > typedBytesLimit;
    silentLooks = cannotTell ? 0 : silentLooks + 1;
    if (silentLooks > silentLooksLimit) socket.terminate();
    else socket.ping();
  }, keepAliveMs).unref();
  socket.once("close", () => clearInterval(timer));
}

/** What a caller is told when the socket of `path` closed before the last message. */
export function brokenOff(endpoint: Endpoint, path: string, code: number, reason: string): DaemonLostError {
  const why = reason === "" ? `code ${code}` : `code ${code}, ${reason}`;
  return daemonLost(endpoint, `WS ${path}`, {
    cause: new Error(`the web socket was closed (${why})`),
    inOrder: code === goingAway,
  });
}
