/** The templates that are there: found, looked over, listed, and removed when damaged or when room is needed. */
import { stat } from "node:fs/promises";

import type { TemplateInfo, TemplateKeeper } from "../../abilities.ts";
import type { LibvirtHost, Storage } from "../host.ts";
import { parseSharedName } from "../names.ts";
import { standsOn } from "../storage/standing.ts";
import {
  damageOf,
  findTemplate,
  isPublished,
  loadState,
  removeTemplate,
  type Template,
} from "./template-files.ts";
import type { TemplateUse } from "./template-use.ts";

/** A template that was looked over, with the state that clones begin from. */
export interface ReadyTemplate {
  template: Template;
  state: Buffer;
}

export interface TemplateStore {
  /** The template of a key. A damaged one is removed and not answered. */
  open(key: string, signal: AbortSignal): Promise<ReadyTemplate | undefined>;
  list(signal: AbortSignal): Promise<TemplateInfo[]>;
  remove: TemplateKeeper["removeTemplate"];
  /** Removes it when its files are not as they were when it was finished, and tells what is wrong with them. */
  removeDamaged(template: Template, signal: AbortSignal): Promise<string | undefined>;
  /** Clones of it do not start: nobody gets it any more. */
  discard(template: Template, signal: AbortSignal): Promise<void>;
  /** Those that were not used for the longest go first; none that a machine stands on, and not `newest`. */
  keepWithin(budgetBytes: number, newest: string, signal: AbortSignal): Promise<void>;
}

/** `leave`: whatever waits to stand on a template, and is no sandbox yet, is removed. */
export function createTemplateStore(
  host: LibvirtHost,
  use: TemplateUse,
  leave: (key: string) => Promise<void>,
): TemplateStore {
  /** States of templates that were used in this process, by build. */
  const states = new Map<string, Buffer>();

  async function open(key: string, signal: AbortSignal): Promise<ReadyTemplate | undefined> {
    const storage = await host.storage(signal);
    const template = await findTemplate(storage, key, signal);
    if (template === undefined) return undefined;
    if ((await damageOf(storage, template)) === undefined) {
      const state = states.get(template.build) ?? (await loadState(storage.path(template.files.state)));
      if (state !== undefined) {
        states.set(template.build, state);
        return { template, state };
      }
    }
    await withdraw(storage, template, signal);
    return undefined;
  }

  /**
   * First the marker, then a look at who stands on it: a clone makes its disk first and then looks at the marker, so that
   * one of the two sees the other. What a machine stands on is left to `prune`.
   */
  async function withdraw(storage: Storage, template: Template, signal: AbortSignal): Promise<void> {
    states.delete(template.build);
    await removeTemplate(storage, template, signal, async () => {
      await leave(template.key);
      return (await standsOn(storage, signal)).has(storage.path(template.files.disk));
    });
  }

  async function list(signal: AbortSignal): Promise<TemplateInfo[]> {
    return (await everyTemplate(signal)).map(({ info }) => info);
  }

  async function everyTemplate(signal: AbortSignal): Promise<{ template: Template; info: TemplateInfo }[]> {
    const storage = await host.storage(signal);
    const [used, lastUsed] = await Promise.all([standsOn(storage, signal), use.lastUsed()]);
    const found: { template: Template; info: TemplateInfo }[] = [];
    for (const volume of await storage.list(signal)) {
      const name = parseSharedName(volume);
      if (name?.kind !== "template" || name.build !== undefined) continue;
      const template = await findTemplate(storage, name.key, signal);
      if (template === undefined) continue;
      const { reference, createdAt, template: details } = template.marker;
      const info = {
        key: name.key,
        reference,
        type: details.type,
        cpus: details.vcpus,
        memoryBytes: details.memoryBytes,
        growsTo:
          details.room === undefined
            ? undefined
            : { cpus: details.room.vcpus, memoryBytes: details.room.memoryBytes },
        createdAt,
        // One that only others have used is known by its age.
        lastUsedMs: lastUsed.get(name.key) ?? Date.parse(createdAt),
        diskBytes: await allocatedBytes(Object.values(template.files).map((file) => storage.path(file))),
        inUse: used.has(storage.path(template.files.disk)),
      };
      found.push({ template, info });
    }
    return found;
  }

  return {
    open,
    list,
    async remove(key, signal) {
      const find = async () => (await everyTemplate(signal)).find(({ info }) => info.key === key);
      let found = await find();
      if (found?.info.inUse === true) {
        // Perhaps only by what waits here to become a sandbox.
        await leave(key);
        found = await find();
      }
      if (found === undefined) return "absent";
      if (found.info.inUse) return "in_use";
      await withdraw(await host.storage(signal), found.template, signal);
      return "removed";
    },
    async removeDamaged(template, signal) {
      const storage = await host.storage(signal);
      const damage = (await isPublished(storage, template, signal))
        ? await damageOf(storage, template)
        : "it was removed";
      if (damage !== undefined) await withdraw(storage, template, signal);
      return damage;
    },
    discard: async (template, signal) => withdraw(await host.storage(signal), template, signal),
    async keepWithin(budgetBytes, newest, signal) {
      const all = (await everyTemplate(signal)).toSorted((a, b) => a.info.lastUsedMs - b.info.lastUsedMs);
      let bytes = all.reduce((sum, { info }) => sum + info.diskBytes, 0);
      for (const { template, info } of all) {
        if (bytes <= budgetBytes) return;
        if (info.inUse || info.key === newest) continue;
        await withdraw(await host.storage(signal), template, signal);
        bytes -= info.diskBytes;
      }
    },
  };
}

async function allocatedBytes(paths: readonly string[]): Promise<number> {
  const sizes = await Promise.all(
    paths.map(async (path) => ((await stat(path).catch(() => undefined))?.blocks ?? 0) * 512),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
