/** The storage pool of a real session daemon. */
import { mkdir, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
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

/** Whether libvirt knows of it: it looks into each volume of a pool when it is to list them, or to find one that it has not seen. */
async function isSeen(volume: string): Promise<boolean> {
  const pool = await connection.pools.lookupByName(poolName);
  return await connection.volumes.lookupByName(pool, volume).then(
    () => true,
    (error: unknown) => {
      if (LibvirtError.hasCode(error, "noStorageVolume")) return false;
      throw error;
    },
  );
}

test("what was made past libvirt is listed and removed without a look at the whole pool", async () => {
  const signal = AbortSignal.timeout(60_000);
  const storage = await host.storage(signal);
  await writeFile(join(folder, "clone.qcow2"), "");
  await mkdir(join(folder, "lost+found"));
  expect(await storage.list(signal)).toEqual(["clone.qcow2"]);
  await storage.remove("clone.qcow2", signal);
  expect(await storage.list(signal)).toEqual([]);
  expect(await isSeen("clone.qcow2")).toBe(false);

  // What libvirt made it also removes, so that its own list is right.
  await storage.createFile("seed.iso", 4, Readable.from([Buffer.from("seed")]), signal);
  expect(await isSeen("seed.iso")).toBe(true);
  await storage.remove("seed.iso", signal);
  expect(await isSeen("seed.iso")).toBe(false);
  await rmdir(join(folder, "lost+found"));
});

test("a pool that has other things than files is listed by libvirt", async () => {
  const signal = AbortSignal.timeout(60_000);
  const storage = await host.storage(signal);
  await writeFile(join(folder, "disk"), "");
  await symlink("disk", join(folder, "link"));
  expect((await storage.list(signal)).toSorted()).toEqual(["disk", "link"]);
  await rm(join(folder, "link"));
  await storage.remove("disk", signal);
  expect(await storage.has("disk", signal)).toBe(false);
});

test("what is not there costs no look at the whole pool, and what libvirt has not seen yet is found", async () => {
  const signal = AbortSignal.timeout(60_000);
  const storage = await host.storage(signal);
  await writeFile(join(folder, "console.log"), "printed");

  expect(await storage.read("absent", 10, signal)).toBeUndefined();
  await storage.remove("absent", signal);
  expect(await isSeen("console.log")).toBe(false);

  expect((await storage.read("console.log", 10, signal))?.toString()).toBe("printed");
  expect(await isSeen("console.log")).toBe(true);
  await storage.remove("console.log", signal);
  expect(await storage.has("console.log", signal)).toBe(false);
});
