/** A network between a client and its daemon, and what goes wrong on networks. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Endpoint } from "../endpoint.ts";

export interface Network extends AsyncDisposable {
  /** The daemon, over this network. */
  readonly endpoint: Endpoint;
  /** Connections that were made over it. */
  readonly connections: number;
  /** While it is down, connections break at once. */
  isDown: boolean;
  /** While it is mute, nothing of what clients say arrives. */
  isMute: boolean;
  /** Breaks all connections without a word. */
  cut(): void;
  /** Nothing comes through the connections of now any more, in either direction, and nobody is told. */
  swallow(): void;
}

export async function startNetworkTo(
  socketPath: string,
  kind: Endpoint["kind"] = "socket",
): Promise<Network> {
  const folder = await mkdtemp(join(tmpdir(), "hv-"));
  const ends = new Set<Socket>();
  const silent = new Set<Socket>();
  let connections = 0;
  const pipe = (from: Socket, to: Socket, isHeard: () => boolean): void => {
    ends.add(from);
    from.on("error", () => undefined);
    from.on("close", () => {
      ends.delete(from);
      if (!silent.has(from)) to.destroy();
    });
    from.on("data", (chunk: Buffer) => {
      if (silent.has(from) || !isHeard() || to.write(chunk)) return;
      from.pause();
      to.once("drain", () => from.resume());
    });
  };
  const server = createServer((client) => {
    connections += 1;
    if (network.isDown) {
      client.destroy();
      return;
    }
    const daemon = connect(socketPath);
    pipe(client, daemon, () => !network.isMute);
    pipe(daemon, client, () => true);
  });
  const network: Network = {
    endpoint: await listen(server, kind, join(folder, "s")),
    get connections() {
      return connections;
    },
    isDown: false,
    isMute: false,
    cut() {
      for (const end of ends) end.destroy();
    },
    swallow() {
      for (const end of ends) silent.add(end);
    },
    async [Symbol.asyncDispose]() {
      network.cut();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
  return network;
}

async function listen(server: Server, kind: Endpoint["kind"], socketPath: string): Promise<Endpoint> {
  if (kind === "socket") server.listen(socketPath);
  else server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return typeof address === "object" && address !== null
    ? { kind: "url", url: new URL(`http://127.0.0.1:${address.port}`), token: undefined }
    : { kind: "socket", socketPath };
}
