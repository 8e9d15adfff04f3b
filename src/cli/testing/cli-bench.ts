/** The command line as a real process beside a real daemon, whose machines are processes of this host. */
import { writeFile } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

import { createTestState, startTestDaemon, type TestDaemon } from "../../daemon/testing/test-daemon.ts";
import { wantedSuffix } from "../../sandbox/testing/process-backend.ts";
import { type CliOptions, type CliResult, runCli } from "./run-cli.ts";

export interface CliBench extends AsyncDisposable {
  /** The state folder, where a test may also put files of its own. */
  folder: string;
  daemon: TestDaemon;
  /** `METHOD path` of every request that the command line has made, in order. */
  requests: string[];
  options: CliOptions;
  heyvm(...words: string[]): Promise<CliResult>;
  /** Makes a sandbox; returns its id, and where its file system lies on this host. */
  create(name: string, more?: object): Promise<{ id: string; root: string }>;
  /** What the doctor misses: files on this host, each with a remedy that makes it. */
  want(...paths: string[]): Promise<void>;
  /** Cuts the command line's connections; the daemon is well. */
  cut(): void;
}

/** All is gone when it is disposed. */
export async function createCliBench(): Promise<CliBench> {
  const state = await createTestState();
  const { folder } = state;
  const daemon = await startTestDaemon(folder);
  const requests: string[] = [];
  const clients = new Set<Socket>();
  const socketPath = join(folder, "cli.sock");
  const between = await listenBetween(socketPath, daemon.socketPath, requests, clients);
  const options: CliOptions = { socketPath, env: { MVM_DATA_DIR: folder } };
  const cut = (): void => {
    for (const client of clients) client.destroy();
  };
  return {
    folder,
    daemon,
    requests,
    options,
    heyvm: (...words) => runCli(words, options),
    async create(name, more) {
      const { status, json } = await daemon.call("POST", "/sandboxes", { name, ...more });
      if (status !== 201) throw new Error(`no sandbox ${name}: ${JSON.stringify(json)}`);
      return { id: json.id, root: join(folder, "machines", json.id, "root") };
    },
    want: async (...paths) => await writeFile(join(folder, `machines${wantedSuffix}`), paths.join("\n")),
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => between.close(resolve));
      await daemon[Symbol.asyncDispose]();
      await state[Symbol.asyncDispose]();
    },
  };
}

/** Passes every connection on. On a unix socket each has one request, so its first words tell which. */
async function listenBetween(
  socketPath: string,
  daemonSocketPath: string,
  requests: string[],
  clients: Set<Socket>,
): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ path: daemonSocketPath, allowHalfOpen: true });
    clients.add(client);
    client.once("close", () => clients.delete(client));
    client.once("data", (head: Buffer) => {
      requests.push(head.toString("latin1").split(" ", 2).join(" "));
    });
    // The end of one with an error ends the other.
    void pipeline(client, upstream, client).catch(() => undefined);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return server;
}
