/** A server that says exactly what a test wants, on a unix socket: also what the real daemon never would. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type WebSocket, WebSocketServer } from "ws";

import type { Endpoint } from "../endpoint.ts";

export interface WireServer extends AsyncDisposable {
  readonly endpoint: Endpoint & { kind: "socket" };
}

export interface WireHandlers {
  http?: (request: IncomingMessage, answer: ServerResponse) => void;
  webSocket?: (socket: WebSocket, request: IncomingMessage) => void;
  /** An answer instead of an upgrade, as a proxy gives one. */
  refusal?: () => string | undefined;
}

export async function startWireServer(handlers: WireHandlers): Promise<WireServer> {
  const folder = await mkdtemp(join(tmpdir(), "hv-"));
  const socketPath = join(folder, "s");
  const server = createServer((request, answer) => handlers.http?.(request, answer));
  const { webSocket } = handlers;
  const sockets = new WebSocketServer({ noServer: true });
  if (webSocket !== undefined) {
    server.on("upgrade", (request, socket, head) => {
      const refused = handlers.refusal?.();
      if (refused !== undefined) {
        socket.end(refused);
        return;
      }
      // What is said at once arrives with the answer, as it does at a client that is slow.
      socket.cork();
      sockets.handleUpgrade(request, socket, head, (opened) => webSocket(opened, request));
      setImmediate(() => socket.uncork());
    });
  }
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    endpoint: { kind: "socket", socketPath },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Answers with JSON. */
export function answerJson(answer: ServerResponse, status: number, body: unknown): void {
  answer.writeHead(status, { "content-type": "application/json" });
  answer.end(JSON.stringify(body));
}
