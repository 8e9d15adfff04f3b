/** The storage pool of a real session daemon. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

import { connectLibvirt, type LibvirtConnection, LibvirtError } from "../../../libvirt/index.ts";
import { startSessionHost, type SessionHost } from "../../../libvirt/testing/session-daemon.ts";
import type { LibvirtHost } from "../host.ts";
import { createLibvirtHost } from "../connection/libvirt-host.ts";
import { poolName } from "../names.ts";
import { poolXml } from "./storage-xml.ts";

let session: SessionHost;
let connection: LibvirtConnection;
let host: LibvirtHost;
let folder: string;

beforeAll(async () => {
  session = await startSessionHost();
  folder = join(session.folder, "data", "heyvm");
  connection = await connectLibvirt(session.uri);
  // Where heyvm would make it, the daemon's user may not.
  await connection.pools.build(await connection.pools.defineXml(poolXml(folder)));
  host = createLibvirtHost(session.uri);
});

afterAll(async () => {
  await connection?.close();
  await host?.close();
  await session?.stop();
});

test("what is not there costs no look at the whole pool, and what libvirt has not seen yet is found", async () => {
  const signal = AbortSignal.timeout(60_000);
  const storage = await host.storage(signal);
  const pool = await connection.pools.lookupByName(poolName, { signal });
  const isSeen = async (volume: string) =>
    await connection.volumes.lookupByName(pool, volume, { signal }).then(
      () => true,
      (error: unknown) => {
        if (LibvirtError.hasCode(error, "noStorageVolume")) return false;
        throw error;
      },
    );
  await writeFile(join(folder, "console.log"), "printed");

  expect(await storage.read("absent", 10, signal)).toBeUndefined();
  await storage.remove("absent", signal);
  expect(await isSeen("console.log")).toBe(false);

  expect((await storage.read("console.log", 10, signal))?.toString()).toBe("printed");
  expect(await isSeen("console.log")).toBe(true);
  await storage.remove("console.log", signal);
  expect(await storage.has("console.log", signal)).toBe(false);
});
