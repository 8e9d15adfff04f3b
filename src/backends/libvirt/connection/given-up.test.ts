/** What becomes of calls that make something when their caller leaves in their middle, on a real session daemon. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";

import { toHeyvmError } from "../../../errors/index.ts";
import { connectLibvirt } from "../../../libvirt/index.ts";
import { startSessionHost, type SessionHost } from "../../../libvirt/testing/session-daemon.ts";
import type { LibvirtHost } from "../host.ts";
import { createLibvirtHost } from "./libvirt-host.ts";
import { poolXml } from "../storage/storage-xml.ts";

let session: SessionHost;
let host: LibvirtHost;

beforeAll(async () => {
  session = await startSessionHost();
  const connection = await connectLibvirt(session.uri);
  // Where heyvm would make it, the daemon's user may not.
  await connection.pools.build(
    await connection.pools.defineXml(poolXml(join(session.folder, "data", "heyvm"))),
  );
  await connection.close();
  host = createLibvirtHost(session.uri);
});

afterAll(async () => {
  await host?.close();
  await session?.stop();
});

/** Before libvirt has the call, in its middle, and after its answer. */
const momentsMs = [0, 0.2, 0.5, 1, 2, 3, 5, 8, 12, 20, 40, 80, 160];
/** Longer than libvirt takes for one of these on a busy host; nothing tells of what never comes. */
const restMs = 200;
const nobodyLeaves = new AbortController().signal;

/** Calls, leaves, cleans up at each moment; returns what is there then or comes into being, and how a call failed otherwise. */
async function leftBy(
  make: (name: string, signal: AbortSignal) => Promise<void>,
  remove: (name: string) => Promise<void>,
  list: () => Promise<string[]>,
): Promise<{ left: string[]; failures: unknown[] }> {
  const failures: unknown[] = [];
  for (const moment of momentsMs) {
    const caller = new AbortController();
    const made = make(`after-${moment}`, caller.signal).catch((error: unknown) => toHeyvmError(error).code);
    const end = performance.now() + moment;
    // A timer is too coarse.
    while (performance.now() < end) await new Promise(setImmediate);
    caller.abort();
    const failure = await made;
    if (failure !== undefined && failure !== "aborted") failures.push(failure);
    await remove(`after-${moment}`);
  }
  await delay(restMs);
  return { left: await list(), failures };
}

const nothing = { left: [], failures: [] };

const domainXml = (name: string): string =>
  `<domain type='qemu'><name>${name}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>`;

test("whoever leaves is told so, whatever was made", async () => {
  expect(await host.domains.list(nobodyLeaves)).toEqual([]);
  const caller = new AbortController();
  const making = host.domains.startPaused(domainXml("made"), caller.signal);
  // Now libvirt has the call, and works on it for longer than a turn of the event loop.
  await new Promise(setImmediate);
  caller.abort();
  await expect(making).rejects.toMatchObject({ code: "aborted" });
  expect(await host.domains.list(nobodyLeaves)).toEqual(["made"]);
  await host.domains.remove("made", nobodyLeaves);
});

test.each<[what: string, make: (name: string, signal: AbortSignal) => Promise<void>]>([
  ["defined", (name, signal) => host.domains.define(domainXml(name), signal)],
  ["started", (name, signal) => host.domains.startPaused(domainXml(name), signal)],
  [
    "defined and started",
    async (name, signal) => {
      await host.domains.define(domainXml(name), signal);
      await host.domains.start(name, signal);
    },
  ],
])("a machine whose caller leaves while it is %s can be removed at once", async (_what, make) => {
  const left = leftBy(
    make,
    (name) => host.domains.remove(name, nobodyLeaves),
    () => host.domains.list(nobodyLeaves),
  );
  expect(await left).toEqual(nothing);
});

test.each<[what: string, make: (name: string, signal: AbortSignal) => Promise<void>]>([
  [
    "a disk",
    async (name, signal) => {
      const storage = await host.storage(nobodyLeaves);
      await storage.createOverlay(name, { path: "/dev/null", format: "raw" }, 2 ** 20, signal);
    },
  ],
  [
    "a file",
    async (name, signal) => {
      const storage = await host.storage(nobodyLeaves);
      await storage.createFile(name, 5, oneChunk("words"), signal);
    },
  ],
])("%s whose caller leaves while it is made can be removed at once", async (_what, make) => {
  const storage = await host.storage(nobodyLeaves);
  const left = leftBy(
    make,
    (name) => storage.remove(name, nobodyLeaves),
    () => storage.list(nobodyLeaves),
  );
  expect(await left).toEqual(nothing);
});

async function* oneChunk(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}
