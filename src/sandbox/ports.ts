/** Host ports on 127.0.0.1 that lead to a port inside a guest, through the agent. */
import { createServer, type Server, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";

import { timeoutSignal } from "../core/deadline.ts";
import type { AgentSession } from "../agent/types.ts";
import { errnoOf, HeyvmError, messageOf } from "../errors/index.ts";

export interface PublishedPorts {
  close(): Promise<void>;
}

const dialTimeoutMs = 10_000;
/** How many connections one port has at a time; each has buffers here, in the agent and in the guest. What comes beyond them is closed. */
const maxConnections = 256;

/** A host port that cannot be listened on. */
export class PortUnavailableError extends HeyvmError {
  constructor(port: number, cause: unknown) {
    const taken = errnoOf(cause) === "EADDRINUSE";
    super(
      taken ? "name_taken" : "permission_denied",
      `cannot publish port ${port} on 127.0.0.1: ${taken ? "another program listens there" : messageOf(cause)}`,
      {
        cause,
        details: { field: "open_ports", port },
        hint: "choose another host port: --open-port HOST:GUEST",
      },
    );
  }
}

/** Listens on all of them, or on none. `session` is asked for when a connection comes. */
export async function publishPorts(
  ports: readonly { guestPort: number; hostPort: number }[],
  session: (signal: AbortSignal) => Promise<AgentSession>,
): Promise<PublishedPorts> {
  const servers: Server[] = [];
  const sockets = new Set<Socket>();
  const published: PublishedPorts = {
    async close() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map(async (server) => await new Promise((done) => server.close(done))));
    },
  };
  try {
    for (const { guestPort, hostPort } of ports) {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        // Anybody on this host can connect, and reset what he has opened. Before anything is awaited: an error that
        // nobody hears ends the daemon.
        socket.on("error", () => socket.destroy());
        sockets.add(socket);
        socket.once("close", () => sockets.delete(socket));
        void forward(socket, guestPort, session);
      });
      server.maxConnections = maxConnections;
      await listen(server, hostPort);
      servers.push(server);
    }
    return published;
  } catch (error) {
    await published.close();
    throw error;
  }
}

async function forward(
  socket: Socket,
  guestPort: number,
  session: (signal: AbortSignal) => Promise<AgentSession>,
): Promise<void> {
  const left = new AbortController();
  socket.once("close", () => left.abort());
  try {
    const signal = AbortSignal.any([timeoutSignal(dialTimeoutMs), left.signal]);
    const guest = await (await session(signal)).dial({ port: guestPort }, { signal });
    await Promise.all([pipeline(socket, guest), pipeline(guest, socket)]);
  } catch {
    // As a closed port looks to a client: the connection ends.
    socket.destroy();
  }
}

async function listen(server: Server, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(new PortUnavailableError(port, error)));
    server.listen(port, "127.0.0.1", resolve);
  });
}
