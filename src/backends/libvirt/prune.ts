/** What stands on what in the pool, and the removal of what nobody needs. */
import { readMetadata } from "./domain-metadata.ts";
import type { LibvirtHost, Storage } from "./host.ts";
import { destroyMachine, type MachineDependencies } from "./machine.ts";
import { machineNames, machineOfDomain, machineOfVolume, markerName, parseSharedName } from "./names.ts";
import { listPasst, stopPasst } from "./passt.ts";
import { isAlive } from "./process-mark.ts";
import { findSharedDisk } from "./shared-disk.ts";

/** Ids of the sandboxes that `owner` has machines for. */
export async function ownMachines(host: LibvirtHost, owner: string, signal: AbortSignal): Promise<string[]> {
  const ids: string[] = [];
  for (const domain of await host.domains.list(signal)) {
    if (machineOfDomain(domain)?.startsWith("sb-") !== true) continue;
    const xml = await host.domains.xml(domain, signal);
    const metadata = xml === undefined ? undefined : readMetadata(xml);
    if (metadata?.kind === "sandbox" && metadata.owner === owner) ids.push(metadata.id);
  }
  return ids;
}

/** Fingerprints of the images that prepared disks, copies and machines stand on, whoever owns them. */
export async function imagesInUse(host: LibvirtHost, signal: AbortSignal): Promise<Set<string>> {
  const fingerprints = new Set<string>();
  const storage = await host.storage(signal);
  for (const volume of await storage.list(signal)) {
    const name = parseSharedName(volume);
    if (name?.kind !== "prepared" || name.build !== undefined) continue;
    const disk = await findSharedDisk(storage, "prepared", name.key, signal);
    if (disk !== undefined) fingerprints.add(disk.fingerprint);
  }
  for (const domain of await host.domains.list(signal)) {
    if (machineOfDomain(domain) === undefined) continue;
    const xml = await host.domains.xml(domain, signal);
    const metadata = xml === undefined ? undefined : readMetadata(xml);
    if (metadata?.kind === "sandbox" && metadata.spec.image !== undefined) {
      fingerprints.add(metadata.spec.image.fingerprint);
    }
  }
  return fingerprints;
}

/** Removes leftovers; with `everything` also prepared disks and image copies that no machine stands on. */
export async function prune(
  dependencies: MachineDependencies,
  signal: AbortSignal,
  options: { keepIds: ReadonlySet<string>; everything: boolean },
): Promise<string[]> {
  const { host, settings } = dependencies;
  const removed: string[] = [];
  for (const id of await ownMachines(host, settings.owner, signal)) {
    if (options.keepIds.has(id)) continue;
    await destroyMachine(dependencies, id, signal);
    removed.push(`machine ${id}`);
  }
  removed.push(...(await removeDeadPreparations(host, signal)));
  removed.push(...(await removeStrayVolumes(dependencies, signal, options.everything)));
  for (const id of await listPasst(settings.networkFolder)) {
    if ((await host.domains.status(machineNames(id).domain, signal)) !== undefined) continue;
    await stopPasst(settings.networkFolder, id);
    removed.push(`network of ${id}`);
  }
  return removed;
}

/** Preparations whose maker died. */
export async function removeDeadPreparations(host: LibvirtHost, signal: AbortSignal): Promise<string[]> {
  const removed: string[] = [];
  for (const domain of await host.domains.list(signal)) {
    const id = machineOfDomain(domain);
    if (id?.startsWith("preparing-") !== true) continue;
    const xml = await host.domains.xml(domain, signal);
    const metadata = xml === undefined ? undefined : readMetadata(xml);
    if (metadata?.kind !== "preparation" || (await isAlive(metadata.maker))) continue;
    await host.domains.powerOff(domain, signal);
    const storage = await host.storage(signal);
    for (const volume of await storage.list(signal)) {
      if (machineOfVolume(volume) === id || isUnpublished(volume, metadata.build))
        await storage.remove(volume, signal);
    }
    await host.domains.remove(domain, signal);
    removed.push(`preparation ${metadata.build}`);
  }
  return removed;
}

function isUnpublished(volume: string, build: string): boolean {
  const name = parseSharedName(volume);
  return name?.kind === "prepared" && name.build === build;
}

async function removeStrayVolumes(
  { host, prepared }: MachineDependencies,
  signal: AbortSignal,
  everything: boolean,
): Promise<string[]> {
  const storage = await host.storage(signal);
  const removed: string[] = [];
  const remove = async (volume: string) => {
    await storage.remove(volume, signal);
    removed.push(volume);
  };
  /** Volumes before domains: whoever makes both makes the domain first, so a volume seen here has its domain by now. */
  const look = async () => {
    const volumes = await storage.list(signal);
    return { volumes, domains: new Set(await host.domains.list(signal)) };
  };
  const { volumes, domains } = await look();
  for (const volume of volumes) {
    const machine = machineOfVolume(volume);
    if (machine !== undefined && !domains.has(machineNames(machine).domain)) await remove(volume);
  }
  // Prepared disks first: image copies are what they stand on.
  for (const kind of ["prepared", "image"] as const) {
    const { volumes, domains } = await look();
    const neededPaths = await backingPaths(storage, volumes, signal);
    for (const volume of volumes) {
      const name = parseSharedName(volume);
      if (name?.kind !== kind || name.build === undefined) continue;
      if (neededPaths.has(storage.path(volume)) || prepared.building.has(name.build)) continue;
      if (domains.has(machineNames(`preparing-${name.build}`).domain)) continue;
      const finished = (await findSharedDisk(storage, kind, name.key, signal))?.disk === volume;
      // A copy without a marker may be on its way: no domain tells who makes it.
      if ((finished || kind === "image") && !everything) continue;
      // The marker first: a disk without one is rubbish, a marker without a disk a lie.
      if (finished) await remove(markerName(kind, name.key));
      await remove(volume);
    }
  }
  return removed;
}

async function backingPaths(
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
