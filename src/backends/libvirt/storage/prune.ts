/** What stands on what in the pool, and the removal of what nobody needs. */
import { shellQuoted } from "../../../errors/index.ts";
import type { PruneOptions } from "../../backend.ts";
import { readMetadata } from "../domain/domain-metadata.ts";
import type { LibvirtHost, Storage } from "../host.ts";
import { destroyMachine } from "../machine/machine.ts";
import type { MachineDependencies, MachineSettings } from "../machine/machine-definition.ts";
import {
  machineNames,
  machineOfDomain,
  machineOfVolume,
  markerName,
  parseSharedName,
  poolName,
  sharedDiskName,
} from "../names.ts";
import { canUsePasst } from "../network/network.ts";
import { isOwner, type Ownership } from "../machine/ownership.ts";
import { listPasst, stopPasst } from "../network/passt.ts";
import { isAlive } from "../process-mark.ts";
import { findSharedDisk } from "./shared-disk.ts";
import { backingPaths } from "./standing.ts";

/** Ids of the sandboxes that the owner has machines for. */
export async function ownMachines(
  host: LibvirtHost,
  ownership: Ownership,
  signal: AbortSignal,
): Promise<string[]> {
  const ids: string[] = [];
  for (const domain of await host.domains.list(signal)) {
    if (machineOfDomain(domain)?.startsWith("sb-") !== true) continue;
    const xml = await host.domains.xml(domain, signal);
    const id = xml === undefined ? undefined : ownMachineIn(ownership, xml);
    if (id !== undefined) ids.push(id);
  }
  return ids;
}

/** The sandbox's id in this domain's metadata when the owner has it; `undefined` also when they cannot be read. */
export function ownMachineIn(ownership: Ownership, domainXml: string): string | undefined {
  const metadata = readMetadata(domainXml);
  return metadata?.kind === "sandbox" && isOwner(ownership, metadata.owner) ? metadata.id : undefined;
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
  options: PruneOptions,
): Promise<string[]> {
  const { host, settings } = dependencies;
  const removed: string[] = [];
  for (const id of await ownMachines(host, settings, signal)) {
    if (options.keepIds.has(id)) continue;
    await destroyMachine(dependencies, id, signal);
    removed.push(`machine ${id}`);
  }
  removed.push(...(await removeOrphans(host, settings, signal)));
  removed.push(...(await removeStrayVolumes(dependencies, signal, options)));
  // Elsewhere their machines are not to be seen: they would all look as if nobody needed them.
  const networks = (await canUsePasst(host, signal)) ? await listPasst(settings.runtimeFolder) : [];
  for (const id of networks) {
    if (options.keepIds.has(id)) continue;
    if ((await host.domains.status(machineNames(id).domain, signal)) !== undefined) continue;
    await stopPasst(settings.runtimeFolder, id);
    removed.push(`network of ${id}`);
  }
  return removed;
}

/** Preparations and waiting machines whose maker died. */
export async function removeOrphans(
  host: LibvirtHost,
  settings: Ownership & Pick<MachineSettings, "runtimeFolder">,
  signal: AbortSignal,
): Promise<string[]> {
  const removed: string[] = [];
  for (const domain of await host.domains.list(signal)) {
    const id = machineOfDomain(domain);
    if (id === undefined) continue;
    const xml = await host.domains.xml(domain, signal);
    const metadata = xml === undefined ? undefined : readMetadata(xml);
    if (metadata === undefined || metadata.kind === "sandbox") continue;
    if (await isAlive(metadata.maker, isOwner(settings, metadata.owner))) continue;
    await host.domains.powerOff(domain, signal);
    await stopPasst(settings.runtimeFolder, id);
    const storage = await host.storage(signal);
    const volumes = await storage.list(signal);
    for (const volume of volumes) {
      if (machineOfVolume(volume) === id) await storage.remove(volume, signal);
    }
    if (metadata.kind === "preparation") {
      // It may have died after its work was done.
      const parts = volumes.filter((volume) => parseSharedName(volume)?.build === metadata.build);
      if (!(await isNeeded(storage, parts, volumes, signal))) {
        for (const volume of parts) await storage.remove(volume, signal);
      }
    }
    await host.domains.remove(domain, signal);
    removed.push(`${metadata.kind} ${id}`);
  }
  return removed;
}

/** Whether files of one build are finished, or something stands on one of them. */
async function isNeeded(
  storage: Storage,
  parts: readonly string[],
  volumes: readonly string[],
  signal: AbortSignal,
): Promise<boolean> {
  const paths = await backingPaths(storage, volumes, signal);
  for (const volume of parts) {
    if (paths.has(storage.path(volume))) return true;
    const name = parseSharedName(volume);
    if (name === undefined) continue;
    if ((await findSharedDisk(storage, name.kind, name.key, signal))?.disk === volume) return true;
  }
  return false;
}

async function removeStrayVolumes(
  { host, prepared, templates }: MachineDependencies,
  signal: AbortSignal,
  { keepIds, everything, onWarning }: PruneOptions,
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
    if (machine === undefined || domains.has(machineNames(machine).domain)) continue;
    // A sandbox whose domain somebody removed still has its disk: only heyvm rm gives it up.
    if (keepIds.has(machine)) continue;
    const { disk } = machineNames(machine);
    if (!machine.startsWith("sb-") || !volumes.includes(disk)) await remove(volume);
    // Whoever removes a sandbox takes its domain last. So this one's was removed past heyvm, and no mark tells whose it is.
    else if (volume === disk) onWarning(keptDisk(host.uri, disk));
  }
  // In this order each stands on the next.
  for (const kind of ["template", "prepared", "image"] as const) {
    const { volumes, domains } = await look();
    const neededPaths = await backingPaths(storage, volumes, signal);
    for (const volume of volumes) {
      const name = parseSharedName(volume);
      if (name?.kind !== kind || name.build === undefined) continue;
      const whole = sharedDiskName(kind, name.key, name.build);
      if (neededPaths.has(storage.path(volume)) || neededPaths.has(storage.path(whole))) continue;
      if (prepared.building.has(name.build) || templates.building.has(name.build)) continue;
      if (domains.has(machineNames(`preparing-${name.build}`).domain)) continue;
      // A template's other files belong to its disk.
      const disk = kind === "template" ? whole : volume;
      const finished = (await findSharedDisk(storage, kind, name.key, signal))?.disk === disk;
      // A copy without a marker may be on its way: no domain tells who makes it.
      if ((finished || kind === "image") && !everything) continue;
      // The marker first: a disk without one is rubbish, a marker without a disk a lie.
      if (finished) await remove(markerName(kind, name.key));
      await remove(volume);
    }
  }
  return removed;
}

function keptDisk(uri: string, disk: string): string {
  return (
    `kept ${disk}: its machine was removed past heyvm, and the record of its sandbox may be in another state folder ` +
    `(heyvm rm there removes it); if there is none: virsh -c ${shellQuoted(uri)} vol-delete --pool ${poolName} ${disk}`
  );
}
