import { expect, test } from "vitest";

import type { LogEntry } from "../api/schema.ts";
import { followLogs } from "./logs.ts";
import { startWireServer } from "./testing/wire-server.ts";

const entry = (message: string): LogEntry => ({
  timestamp: "2026-01-01T00:00:00Z",
  source: "console",
  message,
});

test("lines that come together with the answer, and their end, are not lost", async () => {
  await using server = await startWireServer({
    webSocket: (socket) => {
      for (const message of ["one", "two"]) socket.send(JSON.stringify(entry(message)));
      socket.close(1000);
    },
  });
  const lines: LogEntry[] = [];
  for await (const line of followLogs(server.endpoint, "sb-00000001")) lines.push(line);
  expect(lines).toEqual([entry("one"), entry("two")]);
});

test.each([
  [1001, "left in order"],
  [1006, "ended unexpectedly"],
])("a daemon that goes away (%i) is no end of the log", async (code, how) => {
  await using server = await startWireServer({
    webSocket: (socket) =>
      socket.send(JSON.stringify(entry("one")), () => {
        if (code === 1006) socket.terminate();
        else socket.close(code);
      }),
  });
  const lines: LogEntry[] = [];
  const following = async (): Promise<void> => {
    for await (const line of followLogs(server.endpoint, "sb-00000001")) lines.push(line);
  };
  await expect(following()).rejects.toMatchObject({
    name: "DaemonLostError",
    message: expect.stringContaining(how),
  });
  expect(lines).toEqual([entry("one")]);
});
