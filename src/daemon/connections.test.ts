import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer as createHttpServer, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { connect as connectPlain, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect as connectTls } from "node:tls";

import { describe, expect, onTestFinished, test } from "vitest";

import { watchConnections } from "./connections.ts";
import { closeListener, type Listener } from "./listeners.ts";
import { makeCertificate } from "./testing/certificate.ts";

const never = 1_000_000_000;
const noSockets: Listener["sockets"] = { async upgrade() {}, count: 0, close() {}, terminate() {} };
const asked = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

function prepared<T extends Socket>(socket: T): T {
  onTestFinished(() => void socket.destroy());
  return socket.on("error", () => undefined);
}

/** A server that answers when the test does. `raw` connects, and `open` is ready to be written to. */
async function listen(over: "a unix socket" | "TCP" | "TLS") {
  const folder = await mkdtemp(join(tmpdir(), "hv-"));
  onTestFinished(async () => await rm(folder, { recursive: true }));
  const responses: ServerResponse[] = [];
  const answer: RequestListener = (_request, response) => void responses.push(response);
  const files = over === "TLS" ? await makeCertificate(folder, "served") : undefined;
  const [cert, key] = [files && (await readFile(files.cert)), files && (await readFile(files.key))];
  const server = files === undefined ? createHttpServer(answer) : createHttpsServer({ cert, key }, answer);
  const listener: Listener = { server, sockets: noSockets, connections: watchConnections(server) };
  const path = join(folder, "socket");
  server.listen(over === "a unix socket" ? { path } : { host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const address = server.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  const raw = async (): Promise<Socket> => {
    const accepted = once(server, "connection");
    const socket = prepared(over === "a unix socket" ? connectPlain(path) : connectPlain(port, "127.0.0.1"));
    await accepted;
    return socket;
  };
  const open = async (): Promise<Socket> => {
    if (over !== "TLS") return await raw();
    const accepted = once(server, "secureConnection");
    const socket = prepared(connectTls({ port: port, host: "127.0.0.1", ca: cert, servername: "localhost" }));
    await accepted;
    return socket;
  };
  return { listener, responses, raw, open };
}

describe.each(["a unix socket", "TCP", "TLS"] as const)("over %s", (over) => {
  test("connections that say nothing, or only half of something, do not hold the end up", async () => {
    const { listener, raw, open } = await listen(over);
    const [silent, ready, half] = [await raw(), await open(), await open()];
    half.write(asked.slice(0, -2));
    const cut = [silent, ready, half].map(async (socket) => await once(socket.resume(), "close"));
    await closeListener(listener, never);
    expect(await Promise.all(cut)).toHaveLength(3);
  });

  test("requests that are under way are answered at the end, and their connections go with them", async () => {
    const { listener, responses, open } = await listen(over);
    const [silent, one] = [await open(), await open()];
    // The second is taken while the first is under way.
    one.write(asked + asked);
    await expect.poll(() => responses.length).toBe(2);
    const closed = closeListener(listener, never);
    await once(silent.resume(), "close");
    responses[0]?.end("first");
    responses[1]?.end("second");
    expect(await text(one)).toMatch(/first[^]*second/);
    await closed;
  });
});
