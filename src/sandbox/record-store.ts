/** The records of all sandboxes on disk, one folder each. */
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";

import { syncFolder, writeFileAtomic } from "../core/atomic-file.ts";
import { sandboxPaths, type StatePaths } from "../config/paths.ts";
import { DiskFullError, isDiskFull, messageOf } from "../errors/index.ts";
import { isSandboxId } from "./ids.ts";
import { type SandboxRecord, recordSchema, recordVersion } from "./record.ts";

export interface RecordStore {
  /** Reads all; a record that cannot be read becomes a failed sandbox, with the reason, and its file stays. */
  load(): Promise<{ record: SandboxRecord; damaged: boolean }[]>;
  /** Makes the sandbox's folder with its first record: both or nothing. No other sandbox may have this id. */
  create(record: SandboxRecord): Promise<void>;
  save(record: SandboxRecord): Promise<void>;
  remove(id: string): Promise<void>;
}

export function createRecordStore(state: StatePaths): RecordStore {
  const save = async (record: SandboxRecord): Promise<void> => {
    await writeFileAtomic(sandboxPaths(state, record.id).record, contentOf(record));
  };
  return {
    save,
    async load() {
      await mkdir(state.sandboxes, { recursive: true, mode: 0o700 });
      const names = await readdir(state.sandboxes);
      for (const name of names.filter((name) => sandboxOfNewFolder(name) !== undefined)) {
        await rm(join(state.sandboxes, name), { recursive: true });
      }
      return await Promise.all(names.filter(isSandboxId).map(async (id) => await read(state, id)));
    },
    async create(record) {
      const folder = sandboxPaths(state, record.id).folder;
      const made = `${folder}${newSuffix}`;
      await makeFolder(state.sandboxes, { recursive: true });
      await makeFolder(made, { recursive: false });
      await writeFileAtomic(sandboxPaths(state, record.id + newSuffix).record, contentOf(record))
        .then(async () => await rename(made, folder))
        .catch(async (error: unknown) => await removeAndThrow(made, error));
      await syncFolder(state.sandboxes).catch(async (error: unknown) => await removeAndThrow(folder, error));
    },
    async remove(id) {
      await rm(sandboxPaths(state, id).folder, { recursive: true, force: true });
    },
  };
}

/** The sandbox whose folder is being made; `undefined` for every other folder. */
export function sandboxOfNewFolder(name: string): string | undefined {
  const id = name.endsWith(newSuffix) ? name.slice(0, -newSuffix.length) : "";
  return isSandboxId(id) ? id : undefined;
}

/** A folder gets its own name when its record is in it: one without a record has lost it. */
const newSuffix = ".new";

async function makeFolder(folder: string, options: { recursive: boolean }): Promise<void> {
  try {
    await mkdir(folder, { ...options, mode: 0o700 });
  } catch (error) {
    throw isDiskFull(error) ? new DiskFullError("making a sandbox's folder", folder, error) : error;
  }
}

async function removeAndThrow(folder: string, error: unknown): Promise<never> {
  await rm(folder, { recursive: true, force: true });
  throw error;
}

function contentOf(record: SandboxRecord): string {
  return `${JSON.stringify(record, undefined, 2)}\n`;
}

async function read(state: StatePaths, id: string): Promise<{ record: SandboxRecord; damaged: boolean }> {
  const path = sandboxPaths(state, id).record;
  try {
    const record = recordSchema.parse(JSON.parse(await readFile(path, "utf8")));
    if (record.id !== id) throw new Error(`it is the record of ${record.id}`);
    return { record, damaged: false };
  } catch (error) {
    return {
      record: damagedRecord(id, `its record ${path} cannot be read: ${messageOf(error)}`),
      damaged: true,
    };
  }
}

/** Stands in for a record that cannot be read, so that the sandbox is seen and can be removed. */
function damagedRecord(id: string, errorMessage: string): SandboxRecord {
  return {
    version: recordVersion,
    id,
    status: "failed",
    removing: false,
    errorMessage,
    spec: {
      name: id,
      slug: id,
      type: "shell",
      backend: "unknown",
      cpus: 0,
      memoryBytes: 0,
      mounts: [],
      network: false,
      ttlSeconds: null,
      workingDirectory: "/",
      openPorts: [],
      env: {},
      setupHooks: [],
      labels: {},
    },
    createdAtMs: 0,
    startedAtMs: null,
    expiresAtMs: null,
    warnings: [],
  };
}
