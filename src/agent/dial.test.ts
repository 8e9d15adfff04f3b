import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type Server, createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

import { startLocalAgent } from "./testing/local-agent.ts";
import { digest, readText } from "./testing/read-all.ts";

describe("dial", () => {
  test.each(["tcp", "unix", "::1"])(
    "reaches a server at %s, each direction with its own end",
    async (kind) => {
      await using agent = startLocalAgent();
      await using session = await agent.connect();
      using server = await listen(
        kind === "unix" ? join(agent.folder, "s") : kind === "tcp" ? "127.0.0.1" : "::1",
      );
      const connection = await session.dial(server.target);
      const data = randomBytes(3_000_000);
      connection.end(data);
      expect(await digest(connection)).toEqual(await digest([data]));
    },
  );

  test("tells a refused connection and a missing socket from a broken one", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    await expect(session.dial({ port: 1 })).rejects.toMatchObject({
      details: { reason: "connection_refused" },
    });
    await expect(session.dial({ path: join(agent.folder, "none") })).rejects.toMatchObject({
      code: "path_not_found",
    });
    await expect(session.dial({ port: 80, host: "no-such-host.invalid" })).rejects.toMatchObject({
      details: { reason: "unreachable" },
    });
    await expect(session.dial({ port: 70_000 })).rejects.toMatchObject({ code: "invalid_argument" });
  });

  test("closes the guest's side when the connection is destroyed", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    using server = await listen("127.0.0.1");
    const connection = await session.dial(server.target);
    connection.write("hello");
    await once(connection, "data");
    const gone = once(server.server, "gone");
    connection.destroy();
    expect(await gone).toEqual([]);
  });

  test("ends when the server closes", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const server = createServer((socket) => socket.end("bye"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    try {
      const connection = await session.dial({ port });
      expect(await readText(connection)).toBe("bye");
      connection.end();
    } finally {
      server.close();
    }
  });
});

/** An echo server; emits `gone` when a client has closed. */
async function listen(
  where: string,
): Promise<{ server: Server; target: { port: number } | { path: string } } & Disposable> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.on("close", () => server.emit("gone"));
    socket.pipe(socket);
  });
  if (where.startsWith("/")) server.listen(where);
  else server.listen(0, where);
  await once(server, "listening");
  const address = server.address();
  const target = typeof address === "object" && address !== null ? { port: address.port } : { path: where };
  return { server, target, [Symbol.dispose]: () => server.close() };
}
