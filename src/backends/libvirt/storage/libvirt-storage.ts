/** The storage pool `heyvm`, by libvirt's storage volumes. */
import { access, constants, copyFile, lstat, readdir, unlink } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { HeyvmError, messageOf } from "../../../errors/index.ts";
import {
  type LibvirtConnection,
  LibvirtError,
  type StoragePoolRef,
  type VolumeRef,
} from "../../../libvirt/index.ts";
import { libvirtFailure } from "../errors.ts";
import type { Storage } from "../host.ts";
import type { LibvirtLink } from "../connection/libvirt-link.ts";
import { poolName } from "../names.ts";
import { backingPath, fileXml, overlayXml, poolFolder, poolXml } from "./storage-xml.ts";

/** libvirt refuses to refresh a pool while a volume of it is made (storage_driver.c), maybe a large one on a slow disk. */
const busyWords = /asynchronous jobs/;
const busyTimeoutMs = 60_000;
/** Other reasons pass at once, or never. */
const refreshTimeoutMs = 2_000;

/** Finds the pool, or makes, builds and starts it, to be there after a reboot, too. */
export async function ensurePool(
  connection: LibvirtConnection,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<{ pool: StoragePoolRef; folder: string }> {
  const { pools } = connection;
  const options = { signal };
  const find = () => orUndefined(pools.lookupByName(poolName, options), "noStoragePool");
  let pool = await find();
  if (pool === undefined) {
    const xml = poolXml(await defaultFolder(connection, env, signal));
    try {
      pool = await pools.defineXml(xml, options);
      await pools.build(pool, options);
    } catch (error) {
      // Somebody else was faster, in defining or in building.
      pool = await find();
      if (pool === undefined) throw error;
    }
  }
  if (!(await pools.isActive(pool, options))) {
    try {
      await pools.start(pool, { ...options, build: true });
    } catch (error) {
      if (!(await pools.isActive(pool, options))) throw error;
    }
    await pools.setAutostart(pool, true, options);
  }
  return { pool, folder: poolFolder(await pools.xml(pool, options)) ?? "/" };
}

/** Beside libvirt's default pool. */
async function defaultFolder(
  { uri, isLocal, pools }: LibvirtConnection,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<string> {
  const session = /\/session(\?|$)/.test(uri);
  // Root has no session of libvirt's: it is the system's.
  if (!session || (isLocal && process.getuid?.() === 0)) return `/var/lib/libvirt/images/${poolName}`;
  if (isLocal) {
    const data = env["XDG_DATA_HOME"] || join(env["HOME"] || homedir(), ".local", "share");
    return join(data, "libvirt", "images", poolName);
  }
  const standard = await orUndefined(pools.lookupByName("default", { signal }), "noStoragePool");
  const folder = standard === undefined ? undefined : poolFolder(await pools.xml(standard, { signal }));
  if (folder !== undefined) return join(folder, poolName);
  throw new HeyvmError(
    "backend_failed",
    `${uri} has no storage pool ${poolName}, and no pool to make it beside`,
    {
      hint: `define one there: virsh -c '${uri}' pool-define-as ${poolName} dir --target FOLDER`,
    },
  );
}

/** The pool's volumes, on whatever connection is open. */
export function createStorage(
  link: LibvirtLink,
  isLocal: boolean,
  pool: StoragePoolRef,
  folder: string,
): Storage {
  const path = (volume: string) => join(folder, volume);

  async function find(connection: LibvirtConnection, volume: string, signal: AbortSignal) {
    const known = await lookUp(connection, volume, signal);
    if (known !== undefined) return known;
    if (isLocal && (await isAbsent(volume))) return undefined;
    // Made past libvirt's storage driver, as console logs and the disks of clones are.
    await refresh(connection, signal);
    return lookUp(connection, volume, signal);
  }

  function lookUp({ volumes }: LibvirtConnection, volume: string, signal: AbortSignal) {
    return orUndefined(volumes.lookupByName(pool, volume, { signal }), "noStorageVolume");
  }

  /** For sure: of a pool whose folder is gone, libvirt tells what is wrong. */
  async function isAbsent(volume: string): Promise<boolean> {
    return (await accessCode(path(volume))) === "ENOENT" && (await accessCode(folder)) === undefined;
  }

  async function refresh({ pools }: LibvirtConnection, signal: AbortSignal): Promise<void> {
    const startMs = performance.now();
    for (;;) {
      try {
        return await pools.refresh(pool, { signal });
      } catch (error) {
        if (!LibvirtError.hasCode(error, "operationInvalid", "internalError")) throw error;
        const timeoutMs = busyWords.test(messageOf(error)) ? busyTimeoutMs : refreshTimeoutMs;
        if (performance.now() - startMs > timeoutMs) throw error;
        // There is no event for the end of another client's job.
        await sleep(50, undefined, { signal });
      }
    }
  }

  const storage: Storage = {
    folder,
    path,
    list: async (signal) =>
      (isLocal ? await filesIn(folder) : undefined) ??
      (await link.use({ what: "listing the storage pool", signal }, async (connection) => {
        await refresh(connection, signal);
        return (await connection.volumes.list(pool, { signal })).map(({ name }) => name);
      })),
    async has(volume, signal) {
      // The file itself where it can be seen: somebody may have removed it past libvirt.
      const code = isLocal ? await accessCode(path(volume)) : "EACCES";
      if (code !== "EACCES") return code === undefined;
      const what = `looking for ${volume}`;
      return link.use(
        { what, signal },
        async (connection) => (await find(connection, volume, signal)) !== undefined,
      );
    },
    createOverlay: (volume, backing, capacity, signal) =>
      link.use(
        { what: `making the disk ${volume}`, signal, repeatable: false, makes: true },
        async ({ volumes }, signal) => {
          await volumes.createXml(pool, overlayXml(volume, backing, capacity), { signal, timeoutMs: 60_000 });
        },
      ),
    createFile: (volume, sizeBytes, content, signal) =>
      link.use(
        { what: `writing ${volume}`, signal, repeatable: false, makes: true },
        async ({ volumes }, late) => {
          const making = { signal: late, timeoutMs: 60_000 };
          const made = await volumes.createXml(pool, fileXml(volume, sizeBytes), making);
          try {
            await pipeline(
              Readable.from(content),
              await volumes.upload(made, { lengthBytes: sizeBytes, signal }),
            );
            signal.throwIfAborted();
          } catch (error) {
            await volumes.delete(made, { timeoutMs: 30_000 }).catch(() => undefined);
            throw error;
          }
        },
      ),
    read: (volume, maxBytes, signal) =>
      link.use({ what: `reading ${volume}`, signal }, async (connection) => {
        const found = await find(connection, volume, signal);
        if (found === undefined) return undefined;
        return readVolume(connection, found, maxBytes, signal);
      }),
    backingOf: (volume, signal) =>
      link.use({ what: `looking at ${volume}`, signal }, async (connection) => {
        const found = await find(connection, volume, signal);
        return found === undefined ? undefined : backingPath(await connection.volumes.xml(found, { signal }));
      }),
    copy: async (volume, to, signal) => {
      signal.throwIfAborted();
      const { COPYFILE_EXCL, COPYFILE_FICLONE } = constants;
      try {
        await copyFile(path(volume), path(to), COPYFILE_EXCL | COPYFILE_FICLONE);
      } catch (error) {
        throw libvirtFailure(`making the disk ${to}`, error);
      }
    },
    remove: (volume, signal) =>
      link.use({ what: `removing ${volume}`, signal }, async (connection) => {
        const known = await lookUp(connection, volume, signal);
        if (known === undefined && isLocal && (await removeFile(path(volume)))) return;
        const found = known ?? (await find(connection, volume, signal));
        if (found !== undefined) {
          await orUndefined(
            connection.volumes.delete(found, { signal, timeoutMs: 60_000 }),
            "noStorageVolume",
          );
        }
      }),
  };
  return storage;
}

/**
 * The names of a folder's files, which cost nothing; libvirt looks into each volume of a pool to list them. `undefined`
 * where libvirt has to be asked: it cannot be read, or has other things than files in it.
 */
async function filesIn(folder: string): Promise<string[] | undefined> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const others = entries.filter((entry) => !entry.isDirectory());
  if (entries.length === 0 || !others.every((entry) => entry.isFile())) return undefined;
  return others.map(({ name }) => name);
}

/** Whether it was there and could be removed: libvirt may do what we may not. */
async function removeFile(path: string): Promise<boolean> {
  try {
    if (!(await lstat(path)).isFile()) return false;
    await unlink(path);
    return true;
  } catch {
    return false;
  }
}

async function readVolume(
  { volumes }: LibvirtConnection,
  volume: VolumeRef,
  maxBytes: number,
  signal: AbortSignal,
) {
  const { capacityBytes } = await volumes.info(volume, { signal });
  if (capacityBytes === 0) return Buffer.alloc(0);
  const lengthBytes = Math.min(maxBytes, capacityBytes);
  const stream = await volumes.download(volume, {
    offsetBytes: capacityBytes - lengthBytes,
    lengthBytes,
    signal,
  });
  return buffer(stream);
}

async function accessCode(path: string): Promise<string | undefined> {
  try {
    await access(path);
    return undefined;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : "EACCES";
  }
}

/** The absence that an error code tells of, as a value. */
export async function orUndefined<T>(
  call: Promise<T>,
  ...codes: Parameters<typeof LibvirtError.hasCode> extends [unknown, ...infer Names] ? Names : never
): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (LibvirtError.hasCode(error, ...codes)) return undefined;
    throw error;
  }
}
