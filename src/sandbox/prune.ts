/** Removes what nobody owns. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";

import { errnoOf } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import { sandboxOfNewFolder } from "./record-store.ts";

/**
 * Leftovers of backends and of the state folder; returns in words what went, and warns of what may be somebody else's.
 * `everything`: also caches.
 */
export async function prune(
  context: SandboxContext,
  options: { everything: boolean; signal: AbortSignal },
): Promise<{ removed: string[]; warnings: string[] }> {
  // Asked as late as can be: sandboxes are created meanwhile.
  const keepIds = { has: (id: string) => context.registry.find(id) !== undefined };
  const removed: string[] = [];
  const warnings: string[] = [];
  const wanted = {
    keepIds,
    everything: options.everything,
    onWarning: (message: string) => void warnings.push(message),
  };
  for (const { backend } of context.backends.opened()) {
    const { available } = await backend.availability(options.signal);
    if (available) {
      removed.push(...(await backend.prune(options.signal, wanted)));
    }
  }
  return { removed: [...removed, ...(await pruneStateFolder(context))], warnings };
}

/** Half-written files of daemons that were killed, and folders of sandboxes that are gone. */
async function pruneStateFolder({ state, registry }: SandboxContext): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await namesIn(state.sandboxes)) {
    const folder = join(state.sandboxes, name);
    if (registry.find(sandboxOfNewFolder(name) ?? name) === undefined) {
      await rm(folder, { recursive: true, force: true });
      removed.push(`folder ${folder}`);
    } else {
      // Our own are being written.
      const ours = new RegExp(`\\.${process.pid}-[0-9a-f]+\\.tmp$`);
      const files = (await namesIn(folder)).filter((file) => file.endsWith(".tmp") && !ours.test(file));
      for (const file of files) {
        await rm(join(folder, file), { force: true });
        removed.push(`file ${join(folder, file)}`);
      }
    }
  }
  return removed;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return [];
    throw error;
  }
}
