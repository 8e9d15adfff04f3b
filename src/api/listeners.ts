/** The HTTP servers: one on the unix socket, and one on TCP when asked for. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";

import { getRequestListener } from "@hono/node-server";

import { errnoOf, HeyvmError, messageOf } from "../errors/index.ts";
import type { Api } from "./api-env.ts";
import { toProblem } from "./problem.ts";
import { createSocketServer, type SocketServer } from "./sockets/upgrade.ts";
import type { ApiServices } from "./services.ts";

/** Throws when a request may not come in. */
export type RequestCheck = (request: IncomingMessage) => void;

export interface Listener {
  server: Server;
  sockets: SocketServer;
}

const headersTimeoutMs = 30_000;

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
  check: RequestCheck,
  onRequest: (request: IncomingMessage, response: ServerResponse) => void,
): Listener {
  const handle = getRequestListener((request, env) => api.fetch(request, env), {
    // Code that runs in this process uses Node's own Request and Response.
    overrideGlobalObjects: false,
  });
  const server = createServer(
    { headersTimeout: headersTimeoutMs, requestTimeout: 0 },
    (request, response) => {
      onRequest(request, response);
      try {
        check(request);
      } catch (error) {
        refuse(response, error);
        return;
      }
      void handle(request, response);
    },
  );
  const sockets = createSocketServer(services, check);
  server.on("upgrade", (request, socket, head) => sockets.upgrade(request, socket, head));
  return { server, sockets };
}

/** Answers the port, which the kernel has chosen when 0 was asked for. */
export async function listenOnTcp(server: Server, host: string, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    const fail = (error: Error): void => reject(new AddressUnavailableError(host, port, error));
    server.once("error", fail);
    server.listen(port, host, () => {
      server.off("error", fail);
      resolve();
    });
  });
  const address = server.address();
  return address !== null && typeof address === "object" ? address.port : port;
}

/** Lets requests that are under way end for a while, then cuts them. */
export async function closeListener({ server, sockets }: Listener, graceMs: number): Promise<void> {
  sockets.close();
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeIdleConnections();
  const timer = setTimeout(() => {
    sockets.terminate();
    server.closeAllConnections();
  }, graceMs);
  await closed;
  clearTimeout(timer);
}

function refuse(response: ServerResponse, thrown: unknown): void {
  const problem = toProblem(thrown, "");
  response.writeHead(problem.status, { "content-type": "application/problem+json", connection: "close" });
  response.end(JSON.stringify(problem));
}
