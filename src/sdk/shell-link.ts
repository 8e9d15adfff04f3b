/** The web socket of a shell. When its connection breaks, it comes back: the daemon keeps the shell for as long. */
import { setTimeout as delay } from "node:timers/promises";

import type { WebSocket } from "ws";

import type { ShellServerMessage } from "../api/schema.ts";
import { createDeferred } from "../core/deferred.ts";
import { onAbort } from "../core/on-abort.ts";
import { AbortedError, errnoOf } from "../errors/index.ts";
import { startDeadline } from "../core/deadline.ts";
import { ClientTimeoutError, DaemonUnavailableError } from "./client-errors.ts";
import { answeredError } from "./daemon-lost.ts";
import type { Endpoint } from "./endpoint.ts";
import { type SendFrame, sendOver } from "./web-socket-streams.ts";
import { brokenOff, openWebSocket } from "./web-socket.ts";
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
  onFrame: (frame: Buffer) => void;
  /** Called once, with the shell's exit code or with how it was lost. */
  onEnd: (end: number | Error) => void;
  /** Hangs the shell up. */
  signal: AbortSignal | undefined;
}

/** RFC 6455, 7.4.1: the connection ended, and nobody had said that it would. */
const brokenConnection = 1006;
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
  { init, onReady, onFrame, onEnd, signal }: ShellLinkOptions,
): ShellLink {
  const leaving = new AbortController();
  const wanted = signal === undefined ? leaving.signal : AbortSignal.any([leaving.signal, signal]);
  let socket: WebSocket | undefined;
  let sessionId: string | undefined;
  let hasEnded = false;
  let stopWatch: (() => void) | undefined;
  let cameBack = createDeferred<void>();

  const end = (how: number | Error): void => {
    if (hasEnded) return;
    hasEnded = true;
    stopWatch?.();
    socket?.close();
    cameBack.resolve();
    onEnd(how);
  };
  /** Resolves when the shell has this connection; what goes wrong until then is thrown, and later ends the shell. */
  const attach = async (next: WebSocket, until: AbortSignal): Promise<void> => {
    const ready = createDeferred<void>();
    let isReady = false;
    const obey = (message: ShellServerMessage): void => {
      if (message.type === "exit") {
        end(message.code);
      } else if (message.type === "error") {
        const error = answeredError(endpoint, `WS ${path}`, message);
        if (isReady) end(error);
        else ready.reject(error);
      } else if (message.sessionId === (sessionId ?? message.sessionId)) {
        ({ sessionId } = message);
        socket = next;
        isReady = true;
        onReady(message.lastSeq ?? 0);
        ready.resolve();
      } else {
        part(next);
        ready.reject(new Error("the daemon, of an earlier version, keeps no shells"));
      }
    };
    next.on("message", (data: Buffer, isBinary: boolean) => {
      if (!isBinary) obey(parseMessage<ShellServerMessage>(data.toString("utf8")));
      else if (isReady) onFrame(data);
    });
    next.on("error", () => undefined);
    next.on("close", (code, reason) => {
      const lost = brokenOff(endpoint, path, code, reason.toString());
      ready.reject(lost);
      if (!isReady || hasEnded) return;
      if (code === brokenConnection) void comeBack(lost);
      else end(lost);
    });
    const stop = onAbort(until, () => part(next));
    next.send(JSON.stringify({ type: "init", ...init(sessionId) }));
    next.resume();
    try {
      await ready.promise;
    } catch (error) {
      next.close();
      throw error;
    } finally {
      stop();
    }
  };
  const comeBack = async (lost: Error): Promise<void> => {
    const endMs = performance.now() + comeBackMs;
    let pauseMs: number = pausesMs.first;
    while (!wanted.aborted && performance.now() < endMs) {
      using attempt = startDeadline("coming back to the shell", { signal: wanted }, attemptLimit);
      try {
        await attach(await openWebSocket(endpoint, path, { signal: attempt.signal }), attempt.signal);
        cameBack.resolve();
        cameBack = createDeferred();
        return;
      } catch (error) {
        if (!mayPass(endpoint, error)) break;
        await delay(pauseMs, undefined, { signal: wanted }).catch(() => undefined);
        pauseMs = Math.min(2 * pauseMs, pausesMs.longest);
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
      stopWatch = onAbort(signal, (reason) => {
        leave();
        end(new AbortedError("the shell", reason));
      });
    },
    async send(frame) {
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

/** What the daemon has answered stays so. */
function mayPass(endpoint: Endpoint, error: unknown): boolean {
  if (error instanceof ClientTimeoutError || error instanceof AbortedError) return true;
  if (!(error instanceof DaemonUnavailableError)) return false;
  return endpoint.kind === "url" || !withoutDaemon.includes(errnoOf(error.cause));
}

/** A shell whose connection merely ends would wait for its client. A daemon that does not listen is left. */
function part(socket: WebSocket): void {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify({ type: "close" }));
  socket.close();
  setTimeout(() => socket.terminate(), partingMs).unref();
}
