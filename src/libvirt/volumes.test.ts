/** Storage of a real session daemon. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { connectLibvirt, type LibvirtConnection, type StoragePoolRef } from "./index.ts";
import { startSessionHost, type SessionHost } from "./testing/session-daemon.ts";

let host: SessionHost;
let connection: LibvirtConnection;

beforeAll(async () => {
  host = await startSessionHost();
  connection = await connectLibvirt(host.uri);
});

afterAll(async () => {
  await connection?.close();
  await host?.stop();
});

const mebibyte = 1024 * 1024;

async function createPool(name: string): Promise<StoragePoolRef> {
  const path = join(host.folder, "data", name);
  const xml = `<pool type='dir'><name>${name}</name><target><path>${path}</path></target></pool>`;
  const pool = await connection.pools.defineXml(xml);
  await connection.pools.build(pool);
  await connection.pools.start(pool);
  return pool;
}

function volumeXml(name: string, sizeBytes: number): string {
  return `<volume><name>${name}</name><capacity>${sizeBytes}</capacity><allocation>0</allocation>
    <target><format type='raw'/></target></volume>`;
}

/** The same block over and over with its number in it, so that order counts; no more than one block in memory. */
function* blocks(count: number): Generator<Buffer> {
  const noise = randomBytes(mebibyte);
  for (let index = 0; index < count; index++) {
    const block = Buffer.from(noise);
    block.writeUInt32BE(index);
    yield block;
  }
}

describe("volumes", () => {
  it("live in a pool that is defined, built, started, described, stopped and removed", async () => {
    const { pools, volumes } = connection;
    const pool = await createPool("whole");
    expect(await pools.lookupByName("whole")).toEqual(pool);
    expect(await pools.lookupByUuid(pool.uuid)).toEqual(pool);
    expect(await pools.lookupByTargetPath(join(host.folder, "data", "whole"))).toEqual(pool);
    expect(await pools.list({ active: true })).toContainEqual(pool);
    await pools.setAutostart(pool, true);
    expect(await pools.info(pool)).toMatchObject({ state: "running", capacityBytes: expect.any(Number) });
    expect(await pools.xml(pool)).toContain("<name>whole</name>");

    const volume = await volumes.createXml(pool, volumeXml("one", mebibyte));
    expect(await volumes.lookupByName(pool, "one")).toEqual(volume);
    expect(await volumes.lookupByPath(await volumes.path(volume))).toEqual(volume);
    await volumes.resize(volume, 2 * mebibyte);
    expect(await volumes.info(volume)).toMatchObject({ type: "file", capacityBytes: 2 * mebibyte });
    const copy = await volumes.createXmlFrom(pool, volumeXml("two", 2 * mebibyte), volume);
    expect((await volumes.list(pool)).map(({ name }) => name).toSorted()).toEqual(["one", "two"]);
    await expect(volumes.createXml(pool, volumeXml("one", 1))).rejects.toMatchObject({
      codeName: "storageVolumeExists",
    });
    for (const one of [volume, copy]) await volumes.delete(one);
    await expect(volumes.lookupByName(pool, "one")).rejects.toMatchObject({ codeName: "noStorageVolume" });

    await pools.refresh(pool);
    await pools.destroy(pool);
    expect(await pools.isActive(pool)).toBe(false);
    await pools.delete(pool);
    await pools.undefine(pool);
    await expect(pools.lookupByName("whole")).rejects.toMatchObject({ codeName: "noStoragePool" });
  });

  it("go up and down whole, in flat memory, while other calls are answered", async () => {
    const { volumes } = connection;
    const pool = await createPool("transfer");
    const count = 256;
    const volume = await volumes.createXml(pool, volumeXml("big", count * mebibyte));
    const sent = createHash("sha256");
    let highestBytes = 0;
    const before = process.memoryUsage().rss;
    async function* source(): AsyncGenerator<Buffer> {
      for (const block of blocks(count)) {
        sent.update(block);
        highestBytes = Math.max(highestBytes, process.memoryUsage().rss);
        await connection.host.hostname();
        yield block;
      }
    }
    await pipeline(source, await volumes.upload(volume));

    const received = createHash("sha256");
    let receivedBytes = 0;
    for await (const chunk of await volumes.download(volume)) {
      received.update(chunk);
      receivedBytes += chunk.length;
      highestBytes = Math.max(highestBytes, process.memoryUsage().rss);
    }
    expect(receivedBytes).toBe(count * mebibyte);
    expect(received.digest("hex")).toBe(sent.digest("hex"));
    expect(highestBytes - before).toBeLessThan(128 * mebibyte);
  });

  it("can be read and written in part", async () => {
    const { volumes } = connection;
    const pool = await createPool("parts");
    const volume = await volumes.createXml(pool, volumeXml("small", 8192));
    await pipeline(
      Readable.from([Buffer.from("middle")]),
      await volumes.upload(volume, { offsetBytes: 100, lengthBytes: 6 }),
    );
    const range = { offsetBytes: 99, lengthBytes: 8 };
    const part = Buffer.concat(await (await volumes.download(volume, range)).toArray());
    expect(part.toString("latin1")).toBe("\0middle\0");
  });

  it("tell an upload of more than fits", async () => {
    const { volumes } = connection;
    const pool = await createPool("tight");
    const volume = await volumes.createXml(pool, volumeXml("tight", 4096));
    const upload = await volumes.upload(volume, { lengthBytes: 4096 });
    await expect(pipeline(Readable.from(blocks(3)), upload)).rejects.toThrow(/./);
  });

  it("that are not read stop the daemon's sending, not this process's other work", async () => {
    const { volumes } = connection;
    const pool = await createPool("slow");
    const volume = await volumes.createXml(pool, volumeXml("slow", 64 * mebibyte));
    const download = await volumes.download(volume);
    await once(download, "readable");
    for (let round = 0; round < 50; round++) await connection.host.hostname();
    expect(download.readableLength).toBeLessThan(mebibyte);
    download.destroy();
    await once(download, "close");
  });
});
