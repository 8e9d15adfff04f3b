/** The HTTP servers: one on the unix socket, and one on TCP when asked for. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer, type Server as HttpsServer } from "node:https";

import { getRequestListener } from "@hono/node-server";

import { errnoOf, HeyvmError, messageOf } from "../errors/index.ts";
import type { Api } from "../api/api-env.ts";
import { type Connections, watchConnections } from "./connections.ts";
import { toProblem } from "../api/problem.ts";
import type { RequestCheck } from "./auth.ts";
import { createSocketServer, type SocketServer } from "../api/sockets/upgrade.ts";
import type { ApiServices } from "../api/services.ts";
import { afterBody } from "../api/unread-body.ts";
import type { TcpAddress } from "./tcp-address.ts";
import type { TlsFiles } from "./tls-files.ts";

export interface Listener {
  server: Server | HttpsServer;
  sockets: SocketServer;
  connections: Connections;
}

/** From the connection to the first request. */
const handshakeTimeoutMs = 10_000;
/** From the connection, or from the last answer's end, to a whole header. */
const headersTimeoutMs = 10_000;
const lookMs = 5000;
/** A body may stand still for as long as its sender likes; one whose machine vanished is found out by the kernel. */
const keepAliveMs = 10_000;
/** At the end: a client that has just connected has this long to ask. */
const quietLookMs = 200;
/** With a client each, or a web socket. */
const mostConnections = { tcp: 256, local: 4096 } as const;

/** An address that cannot be listened on. */
export class AddressUnavailableError extends HeyvmError {
  constructor(host: string, port: number, cause: unknown) {
    const taken = errnoOf(cause) === "EADDRINUSE";
    super(
      "daemon_unavailable",
      `cannot listen on ${host}:${port}: ${taken ? "another program does" : messageOf(cause)}`,
      { cause, hint: `choose another port: heyvm serve --api --port ${port + 1}`, details: { host, port } },
    );
  }
}

/** A server that does not listen yet. `onRequest` is told of each request, for the idle watch. */
export function createListener(
  api: Api,
  services: ApiServices,
  {
    kind,
    check,
    tls,
  }: { kind: keyof typeof mostConnections; check: RequestCheck; tls?: TlsFiles | undefined },
  onRequest: (request: IncomingMessage, response: ServerResponse) => void,
): Listener {
  const handle = getRequestListener((request, env) => api.fetch(request, env), {
    // Code that runs in this process uses Node's own Request and Response.
    overrideGlobalObjects: false,
    // It would close the connection of a body that nobody has read, at once: `lingerForAnswer` reads on.
    autoCleanupIncoming: false,
  });
  const options = {
    headersTimeout: headersTimeoutMs,
    requestTimeout: 0,
    connectionsCheckingInterval: lookMs,
    keepAlive: true,
    keepAliveInitialDelay: keepAliveMs,
  };
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    onRequest(request, response);
    try {
      if (check(request) === "known") void handle(request, response);
      else tellStranger(request, response);
    } catch (error) {
      refuse(request, response, error);
    }
  };
  const server =
    tls === undefined
      ? createHttpServer(options, answer)
      : createHttpsServer({ ...options, ...tls, handshakeTimeout: handshakeTimeoutMs }, answer);
  server.maxConnections = mostConnections[kind];
  server.on("drop", () => {
    services.log.warn({ kind, most: server.maxConnections }, "a connection was refused: there are too many");
  });
  const sockets = createSocketServer(services, check);
  server.on("upgrade", (request, socket, head) => void sockets.upgrade(request, socket, head));
  return { server, sockets, connections: watchConnections(server) };
}

/** Returns the port, which the kernel has chosen when 0 was asked for. */
export async function listenOnTcp(
  server: Listener["server"],
  { host, address: listenAt }: Pick<TcpAddress, "host" | "address">,
  port: number,
): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    const fail = (error: Error): void => reject(new AddressUnavailableError(host, port, error));
    server.once("error", fail);
    server.listen(port, listenAt, () => {
      server.off("error", fail);
      resolve();
    });
  });
  const address = server.address();
  return address !== null && typeof address === "object" ? address.port : port;
}

/** Lets requests that are under way end for a while, then cuts them; who has asked for nothing is cut sooner. */
export async function closeListener(
  { server, sockets, connections }: Listener,
  graceMs: number,
): Promise<void> {
  sockets.close();
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeIdleConnections();
  // What the kernel has received by now is read first: a request that was on its way is no quiet client.
  const quietTimer = setInterval(() => setImmediate(() => connections.cutQuiet()), quietLookMs);
  const timer = setTimeout(() => {
    sockets.terminate();
    server.closeAllConnections();
  }, graceMs);
  await closed;
  clearInterval(quietTimer);
  clearTimeout(timer);
}

/** Of `GET /health` without the token: no more than that somebody is here. */
function tellStranger(request: IncomingMessage, response: ServerResponse): void {
  answerLast(request, response, 200, "application/json", { status: "ok" });
}

function refuse(request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
  const problem = toProblem(thrown, "");
  answerLast(request, response, problem.status, "application/problem+json", problem);
}

/**
 * Who has shown no token gets no connection to hold, and is told so: a client that keeps its connections would send the
 * next request on this one. Node closes it with the answer's end, which therefore waits for the body's.
 */
function answerLast(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  type: string,
  body: object,
): void {
  const text = Buffer.from(JSON.stringify(body));
  response.writeHead(status, { "content-type": type, "content-length": text.length, connection: "close" });
  response.write(text);
  afterBody(request, () => response.end());
}
