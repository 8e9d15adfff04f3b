/** The web socket of a shell. When its connection breaks, it comes back: the daemon keeps the shell for as long. */
import { setTimeout as delay } from "node:timers/promises";

import type { WebSocket } from "ws";

import type { ShellServerMessage } from "../api/schema.ts";
import { createDeferred } from "../core/deferred.ts";
import { onAbort } from "../core/on-abort.ts";
import { AbortedError, errnoOf, HeyvmError } from "../errors/index.ts";
import { startDeadline } from "../core/deadline.ts";
import { CertificateUntrustedError, ClientTimeoutError, DaemonUnavailableError } from "./client-errors.ts";
import { answeredError } from "./daemon-lost.ts";
import type { Endpoint } from "./endpoint.ts";
import { RemoteError } from "./remote-error.ts";
import { type SendFrame, sendOver } from "./web-socket-streams.ts";
import { brokenOff, openWebSocket, watchNetwork } from "./web-socket.ts";
import { parseMessage } from "./wire.ts";

export interface ShellLink {
  /** To be called once; resolves when the shell is there. */
  open: () => Promise<void>;
  /** Waits for a connection that comes back; a frame is of no use any more when the shell has ended. */
  send: SendFrame;
  /** Goes nowhere while there is no connection. */
  say: (message: object) => void;
  pause: () => void;
  resume: () => void;
  /** Hangs the shell up; without a connection, the daemon does when nobody comes back. */
  leave: () => void;
}

export interface ShellLinkOptions {
  /** What opens the shell, or goes on with one that was open: asked for at each connection. */
  init: (sessionId: string | undefined) => object;
  /** At each connection. `lastSeq`: what comes next has the sequence number after it. */
  onReady: (lastSeq: number) => void;
  /** The connection broke, and is tried again; `onReady` or `onEnd` follows. */
  onBreak: () => void;
  onFrame: (frame: Buffer) => void;
  /** Called once, with the shell's exit code or with how it was lost. */
  onEnd: (end: number | Error) => void;
  /** Hangs the shell up. */
  signal: AbortSignal | undefined;
}

/** RFC 6455, 7.4.1: the connection ended, and nobody had said that it would. */
const brokenConnection = 1006;
/** RFC 6455, 7.4.1: the other end does not keep to what was agreed. */
const protocolError = 1002;
/** As long as the daemon keeps a shell. */
const comeBackMs = 60_000;
const attemptLimit = { defaultMs: 10_000, TimeoutError: ClientTimeoutError };
const pausesMs = { first: 100, longest: 2000 } as const;
/** On a unix socket: nobody listens there any more, and with the daemon its shells have gone. */
const withoutDaemon: readonly (string | undefined)[] = ["ECONNREFUSED", "ENOENT"];
/** For a daemon to hear that the shell is not wanted any more. */
const partingMs = 1000;

export function createShellLink(
  endpoint: Endpoint,
  path: string,
  { init, onReady, onBreak, onFrame, onEnd, signal }: ShellLinkOptions,
): ShellLink {
  const leaving = new AbortController();
  const wanted = signal === undefined ? leaving.signal : AbortSignal.any([leaving.signal, signal]);
  /** The connection that has the shell, or had it last. */
  let socket: WebSocket | undefined;
  let sessionId: string | undefined;
  let readyAtMs = 0;
  let pauseMs = 0;
  let sentBytes = 0;
  let hasEnded = false;
  let stopListening: (() => void) | undefined;
  let cameBack = createDeferred<void>();

  const end = (how: number | Error): void => {
    if (hasEnded) return;
    hasEnded = true;
    stopListening?.();
    socket?.close();
    cameBack.resolve();
    onEnd(how);
  };
  /** Resolves when the shell has this connection. What goes wrong until then is thrown; later it ends the shell. */
  const attach = async (next: WebSocket, until: AbortSignal): Promise<void> => {
    const ready = createDeferred<void>();
    const hasShell = (): boolean => socket === next && !hasEnded;
    const obeyFirst = (message: ShellServerMessage): void => {
      if (message.type === "error") {
        ready.reject(answeredError(endpoint, `WS ${path}`, message));
      } else if (message.type !== "ready") {
        ready.reject(brokenOff(endpoint, path, protocolError, `${message.type} before ready`));
      } else if (message.sessionId === (sessionId ?? message.sessionId)) {
        ({ sessionId } = message);
        socket = next;
        readyAtMs = performance.now();
        onReady(message.lastSeq ?? 0);
        ready.resolve();
      } else {
        ready.reject(new Error("the daemon, of an earlier version, keeps no shells"));
      }
    };
    next.on("message", (data: Buffer, isBinary: boolean) => {
      if (hasShell() && isBinary) {
        onFrame(data);
      } else if (!isBinary && (hasShell() || !(until.aborted || hasEnded))) {
        const message = parseMessage<ShellServerMessage>(data.toString("utf8"));
        if (!hasShell()) obeyFirst(message);
        else if (message.type === "exit") end(message.code);
        else if (message.type === "error") end(answeredError(endpoint, `WS ${path}`, message));
      }
    });
    next.on("error", () => undefined);
    next.on("close", (code, reason) => {
      const lost = brokenOff(endpoint, path, code, reason.toString());
      ready.reject(lost);
      if (!hasShell()) return;
      if (code === brokenConnection) void comeBack(lost);
      else end(lost);
    });
    const stop = onAbort(until, (reason) => {
      // What nobody wants any more is hung up. An attempt that takes too long is not: the shell is for the next one.
      if (wanted.aborted) part(next);
      ready.reject(reason);
    });
    next.send(JSON.stringify({ type: "init", ...init(sessionId) }));
    next.resume();
    try {
      await ready.promise;
    } catch (error) {
      if (!wanted.aborted) next.terminate();
      throw error;
    } finally {
      stop();
    }
    if (endpoint.kind === "url") watchNetwork(next, () => sentBytes);
  };
  const comeBack = async (lost: Error): Promise<void> => {
    if (wanted.aborted) return end(lost);
    onBreak();
    const endMs = performance.now() + comeBackMs;
    // One that broke soon after it had come back must not be opened again in a tight loop.
    if (performance.now() - readyAtMs > pausesMs.longest) pauseMs = 0;
    while (!wanted.aborted && performance.now() < endMs) {
      await delay(pauseMs, undefined, { signal: wanted }).catch(() => undefined);
      pauseMs = Math.min(Math.max(2 * pauseMs, pausesMs.first), pausesMs.longest);
      using attempt = startDeadline("coming back to the shell", { signal: wanted }, attemptLimit);
      try {
        await attach(await openWebSocket(endpoint, path, { signal: attempt.signal }), attempt.signal);
        cameBack.resolve();
        cameBack = createDeferred();
        return;
      } catch (error) {
        if (mayPass(endpoint, error)) continue;
        end(isReason(error) ? error : lost);
        return;
      }
    }
    end(lost);
  };
  const leave = (): void => {
    leaving.abort();
    if (socket !== undefined) part(socket);
  };

  return {
    async open() {
      try {
        await attach(await openWebSocket(endpoint, path, { signal }), wanted);
      } catch (error) {
        throw signal?.aborted === true ? new AbortedError("the shell", signal.reason) : error;
      }
      if (hasEnded) return;
      stopListening = onAbort(signal, (reason) => {
        leave();
        end(new AbortedError("the shell", reason));
      });
    },
    async send(frame) {
      sentBytes += frame.length;
      for (;;) {
        const hasGone = socket !== undefined && (await sendOver(socket, frame));
        if (hasGone || hasEnded) return;
        await cameBack.promise;
      }
    },
    say(message) {
      if (socket?.readyState === socket?.OPEN) socket?.send(JSON.stringify(message));
    },
    pause: () => socket?.pause(),
    resume: () => socket?.resume(),
    leave,
  };
}

/** What the daemon has answered stays so, and what a proxy says before it does not. */
function mayPass(endpoint: Endpoint, error: unknown): boolean {
  if (error instanceof ClientTimeoutError || error instanceof AbortedError) return true;
  if (error instanceof RemoteError) return error.requestId === "";
  if (!(error instanceof DaemonUnavailableError) || error instanceof CertificateUntrustedError) return false;
  return endpoint.kind === "url" || !withoutDaemon.includes(errnoOf(error.cause));
}

/** Says more than that the connection broke: the sandbox was stopped, say. */
function isReason(error: unknown): error is HeyvmError {
  return (
    error instanceof HeyvmError &&
    error.code !== "shell_not_found" &&
    (error instanceof CertificateUntrustedError || !(error instanceof DaemonUnavailableError))
  );
}

/** A shell whose connection merely ends would wait for its client. A daemon that does not listen is left. */
function part(socket: WebSocket): void {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify({ type: "close" }));
  // A paused socket would never read the other end's half of the close.
  socket.resume();
  socket.close();
  setTimeout(() => socket.terminate(), partingMs).unref();
}
