/**
 * The connections of an HTTP server, by whether a request is under way. Node's `closeIdleConnections` does not see those
 * that have yet to say something, nor the ones in a TLS handshake, and either may keep a server from its end.
 */
import type { Server, ServerResponse } from "node:http";
import { Server as HttpsServer } from "node:https";
import { Socket } from "node:net";

export interface Connections {
  /** Cuts those without a request at this moment. Web sockets are none of its business. */
  cutQuiet(): void;
}

/** Watches a server that does not listen yet. */
export function watchConnections(server: Server | HttpsServer): Connections {
  /** With what was asked on them and may not be answered yet. */
  const answers = new Map<Socket, ServerResponse[]>();
  const handshakes = new Map<string, Socket>();

  const add = (socket: Socket): void => {
    answers.set(socket, []);
    socket.once("close", () => answers.delete(socket));
  };
  if (server instanceof HttpsServer) {
    server.on("connection", (socket) => {
      if (!(socket instanceof Socket)) return;
      const ends = endsOf(socket);
      handshakes.set(ends, socket);
      socket.once("close", () => {
        if (handshakes.get(ends) === socket) handshakes.delete(ends);
      });
    });
    // Another object, which does not tell the one that it goes over.
    server.on("secureConnection", (socket) => {
      handshakes.delete(endsOf(socket));
      add(socket);
    });
  } else {
    server.on("connection", (socket) => {
      if (socket instanceof Socket) add(socket);
    });
  }
  server.on("request", ({ socket }, response) => {
    const asked = answers.get(socket);
    if (asked !== undefined) answers.set(socket, [...asked.filter(isUnderWay), response]);
  });
  server.on("upgrade", ({ socket }) => answers.delete(socket));

  return {
    cutQuiet() {
      for (const socket of handshakes.values()) socket.destroy();
      for (const [socket, asked] of answers) if (!asked.some(isUnderWay)) socket.destroy();
    },
  };
}

/** Asked rather than listened for: a response has many listeners for its end as it is. */
function isUnderWay(response: ServerResponse): boolean {
  return !response.closed;
}

/** No two connections that are there at the same time have both ends in common. */
function endsOf({ localAddress, remoteAddress, remotePort }: Socket): string {
  return `${localAddress} ${remoteAddress} ${remotePort}`;
}
