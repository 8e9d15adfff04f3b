import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { keepAlive } from "./keepalive.ts";
import { keepAliveProcedure, keepAliveProgram } from "./procedures.ts";
import { createRpc } from "./rpc.ts";
import { createFakeTransport } from "./testing/fake-transport.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Whether a peer is lost after each of so many intervals of silence but for its answers. */
async function lostAfter(intervals: number, answers: boolean): Promise<string[]> {
  const transport = createFakeTransport();
  const rpc = createRpc(transport, "test", 60_000);
  const lost: string[] = [];
  rpc.onLost((error) => lost.push(error.message));
  transport.output.on("data", () => {
    const pong = { program: keepAliveProgram, procedure: keepAliveProcedure.pong, type: 2, serial: 0 };
    if (answers) transport.sayPacket(pong, Buffer.alloc(0));
  });
  keepAlive(rpc, "libvirt", { intervalMs: 1000, count: 4 });
  for (let interval = 0; interval < intervals; interval += 1) {
    vi.advanceTimersByTime(1000);
    // Streams take a turn of the event loop.
    await new Promise(setImmediate);
  }
  return lost;
}

it("a peer that answers is kept, however long nobody says anything else", async () => {
  expect(await lostAfter(100, true)).toEqual([]);
});

it("a peer that does not is lost after so many pings, and not before", async () => {
  expect(await lostAfter(4, false)).toEqual([]);
  expect(await lostAfter(5, false)).toEqual(["libvirt has not answered for 5000 ms"]);
});
