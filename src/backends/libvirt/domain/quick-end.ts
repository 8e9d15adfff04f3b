/** The ends of domains, and what libvirt has yet to notice of them. */
import { setTimeout as delay } from "node:timers/promises";

import { timeoutSignal } from "../../../core/deadline.ts";
import { type DomainRef, type LibvirtConnection, LibvirtError } from "../../../libvirt/index.ts";
import type { Domains, LibvirtHost } from "../host.ts";
import type { LibvirtLink } from "../connection/libvirt-link.ts";
import { orUndefined } from "../storage/libvirt-storage.ts";
import { findQemu, killQemu } from "./qemu-process.ts";
import { untilAborted } from "../../../core/until-aborted.ts";

export interface QuickEnds extends Pick<Domains, "kill" | "remove"> {
  /** Waits until libvirt knows whether a domain that was killed has ended. */
  settled(name: string, signal: AbortSignal): Promise<void>;
  /** The same, and whether it was removed meanwhile. */
  isGone(name: string, signal: AbortSignal): Promise<boolean>;
  /** Whether it was removed, and libvirt may still list it. */
  isBeingForgotten(name: string): boolean;
  /** Waits for libvirt, but not for long: what it has not noticed then, it notices without us. */
  close: () => Promise<void>;
}

interface End {
  isRemoved: boolean;
  /** What libvirt is to do about it, one after the other; never rejects. */
  noticed: Promise<void>;
}

/** Ending QEMU can take this long on a busy host. */
const destroyTimeoutMs = 120_000;
const closeTimeoutMs = 2_000;

/**
 * libvirt looks only every 200 ms whether a QEMU that has to end has ended (`virProcessKillPainfullyDelay` in its
 * src/util/virprocess.c). Where the process is in our reach, it is ended here, and libvirt left to find that out.
 */
export function createQuickEnds(link: LibvirtLink, pidFile: LibvirtHost["pidFile"]): QuickEnds {
  const ends = new Map<string, End>();

  /** Has libvirt do something, when it has done what it was told before, about a domain for which nobody waits. */
  function leaveToLibvirt(name: string, end: End, work: Promise<void>): void {
    const noticed = work
      // Whoever looks for the domain then finds it, as it is.
      .catch(() => undefined)
      .finally(() => {
        if (end.noticed === noticed) ends.delete(name);
      });
    end.noticed = noticed;
    ends.set(name, end);
  }

  function later(what: string, work: (connection: LibvirtConnection, signal: AbortSignal) => Promise<void>) {
    const signal = AbortSignal.any([timeoutSignal(destroyTimeoutMs), link.closed]);
    return link.use({ what, signal }, work);
  }

  const settled = async (name: string, signal: AbortSignal): Promise<void> => {
    const noticed = ends.get(name)?.noticed;
    if (noticed !== undefined) await untilAborted(noticed, `waiting for the end of ${name}`, signal);
  };

  return {
    settled,
    async isGone(name, signal) {
      if (ends.get(name)?.isRemoved === true) return true;
      await settled(name, signal);
      return false;
    },
    isBeingForgotten: (name) => ends.get(name)?.isRemoved === true,
    async kill(name, signal) {
      if (ends.has(name)) return;
      const what = `ending ${name}`;
      const domain = await link.use({ what, signal }, (connection) => findDomain(connection, name, signal));
      if (domain === undefined) return;
      const pid = await findQemu(pidFile(name), name);
      // Before its QEMU ends: libvirt, when it is quick enough, does not take that for a crash.
      const destroying = later(what, (connection, signal) => destroy(connection, domain, signal));
      destroying.catch(() => undefined);
      const hasEnded = pid !== undefined && (await killQemu(pid, signal));
      if (!hasEnded) await untilAborted(destroying, what, signal);
      // Another one may have been quicker.
      else if (!ends.has(name)) leaveToLibvirt(name, { isRemoved: false, noticed: destroying }, destroying);
    },
    async remove(name, signal) {
      const what = `removing ${name}`;
      const end = ends.get(name);
      if (end?.isRemoved === true) return;
      if (end === undefined) {
        await link.use({ what, signal }, async (connection) => {
          await powerOff(connection, name, signal);
          await undefine(connection, name, signal);
        });
      } else {
        end.isRemoved = true;
        const undefining = end.noticed.then(() =>
          later(what, (connection, signal) => undefine(connection, name, signal)),
        );
        leaveToLibvirt(name, end, undefining);
      }
    },
    async close() {
      const limit = new AbortController();
      const all = Promise.all([...ends.values()].map(({ noticed }) => noticed));
      await Promise.race([
        all,
        delay(closeTimeoutMs, undefined, { signal: limit.signal }).catch(() => undefined),
      ]);
      limit.abort();
    },
  };
}

export function findDomain(
  { domains }: LibvirtConnection,
  name: string,
  signal: AbortSignal,
): Promise<DomainRef | undefined> {
  return orUndefined(domains.lookupByName(name, { signal }), "noDomain");
}

/** Ends a domain as if the power went; nothing happens to one that is off or does not exist. */
export async function powerOff(
  connection: LibvirtConnection,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const domain = await findDomain(connection, name, signal);
  if (domain !== undefined) await destroy(connection, domain, signal);
}

async function destroy(connection: LibvirtConnection, domain: DomainRef, signal: AbortSignal): Promise<void> {
  try {
    await connection.domains.destroy(domain, { signal, timeoutMs: destroyTimeoutMs });
  } catch (error) {
    // It does not run.
    if (!LibvirtError.hasCode(error, "operationInvalid", "noDomain")) throw error;
  }
}

async function undefine(connection: LibvirtConnection, name: string, signal: AbortSignal): Promise<void> {
  const domain = await findDomain(connection, name, signal);
  if (domain === undefined) return;
  const all = { managedSave: true, snapshotsMetadata: true, checkpointsMetadata: true, nvram: true };
  await orUndefined(connection.domains.undefine(domain, { ...all, signal }), "noDomain");
}
