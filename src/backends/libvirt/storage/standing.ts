/** What stands on what in the pool. */
import type { Storage } from "../host.ts";

/** Paths of the files that disks in the pool stand on. */
export async function standsOn(storage: Storage, signal: AbortSignal): Promise<Set<string>> {
  return backingPaths(storage, await storage.list(signal), signal);
}

/** The same for volumes that were listed before. */
export async function backingPaths(
  storage: Storage,
  volumes: readonly string[],
  signal: AbortSignal,
): Promise<Set<string>> {
  const paths = new Set<string>();
  for (const volume of volumes) {
    if (!volume.endsWith(".qcow2")) continue;
    const backing = await storage.backingOf(volume, signal);
    if (backing !== undefined) paths.add(backing);
  }
  return paths;
}
