/** Which web socket a request opens. What is wrong with it is told as an HTTP answer, before the upgrade. */
import { randomUUID } from "node:crypto";
import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";

import { z } from "@hono/zod-openapi";
import { type WebSocket, WebSocketServer } from "ws";

import { messageOf } from "../../errors/index.ts";
import { findSandbox } from "../../sandbox/index.ts";
import { RouteNotFoundError } from "../app.ts";
import { toProblem } from "../problem.ts";
import { wholeNumber } from "../routes/parameters.ts";
import type { ApiServices } from "../services.ts";
import { validate } from "../validate.ts";
import { serveExec } from "./exec.ts";
import { serveLogs } from "./logs.ts";
import { serveShell, type ShellSessions } from "./shell.ts";
import { watchPeer } from "./socket-messages.ts";

/** How long one message from a client may be. */
const messageLimitBytes = 4 * 1_048_576;
/** For the answer to be read. */
const refusalGraceMs = 5000;
const shownPathLength = 200;
const socketPath = /^\/sandboxes\/([^/]+)\/(exec|shell-stream|logs\/stream)$/;
const logsQuery = z.strictObject({ backlog: wholeNumber(0, 100_000).optional() });

function ignore(): void {}

export interface SocketServer {
  /** Never rejects. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>;
  /** Open web sockets, and shells that wait for their client. */
  readonly count: number;
  /** Tells all clients that the daemon leaves. */
  close(): void;
  /** Cuts those that have not left. */
  terminate(): void;
}

/** `check` throws what a request is refused with. */
export function createSocketServer(
  services: ApiServices,
  check: (request: IncomingMessage) => void,
): SocketServer {
  const server = new WebSocketServer({ noServer: true, maxPayload: messageLimitBytes });
  const open = new Set<WebSocket>();
  const shells: ShellSessions = new Map();
  return {
    get count() {
      return (
        open.size + [...shells.values()].filter(({ waitingSinceMs }) => waitingSinceMs !== undefined).length
      );
    },
    async upgrade(request, socket, head) {
      const requestId = randomUUID();
      // A client that breaks off during the handshake is no event.
      socket.on("error", ignore);
      try {
        check(request);
        const serve = await route(services, shells, request, requestId);
        server.handleUpgrade(request, socket, head, (webSocket) => {
          socket.off("error", ignore);
          open.add(webSocket);
          const stopWatch = watchPeer(webSocket, request.socket);
          webSocket.on("error", (error) => {
            services.log.info({ request_id: requestId, reason: messageOf(error) }, "web socket broke off");
          });
          webSocket.once("close", () => {
            stopWatch();
            open.delete(webSocket);
          });
          void serve(webSocket);
        });
      } catch (error) {
        refuse(socket, error, requestId);
      }
    },
    close() {
      for (const webSocket of open) webSocket.close(1001, "the daemon leaves");
      for (const shell of shells.values()) shell.hangUp();
      server.close();
    },
    terminate() {
      for (const webSocket of open) webSocket.terminate();
    },
  };
}

async function route(
  { context }: ApiServices,
  shells: ShellSessions,
  request: IncomingMessage,
  requestId: string,
): Promise<(socket: WebSocket) => Promise<void>> {
  const [path = "", query = ""] = (request.url ?? "").split("?", 2);
  const match = socketPath.exec(path);
  if (match === null) throw new RouteNotFoundError("web socket", path.slice(0, shownPathLength));
  const sandbox = await findSandbox(context, decoded(match[1] ?? ""));
  if (match[2] === "exec") return async (socket) => await serveExec(socket, sandbox, requestId);
  if (match[2] === "shell-stream") {
    return async (socket) => await serveShell(socket, shells, sandbox, requestId);
  }
  const { backlog = 0 } = validate(logsQuery, Object.fromEntries(new URLSearchParams(query)));
  return async (socket) => await serveLogs(socket, context, sandbox, backlog, requestId);
}

/** What cannot be decoded is the name of nothing. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Also one that does not close its end is let go. */
function refuse(socket: Duplex, thrown: unknown, requestId: string): void {
  const problem = toProblem(thrown, requestId);
  const body = JSON.stringify(problem);
  const timer = setTimeout(() => socket.destroy(), refusalGraceMs);
  socket.once("close", () => clearTimeout(timer));
  socket.resume();
  socket.end(
    [
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? "Error"}`,
      "content-type: application/problem+json",
      `content-length: ${Buffer.byteLength(body)}`,
      `x-request-id: ${requestId}`,
      "connection: close",
      "",
      body,
    ].join("\r\n"),
  );
}
