/** What a sandbox's QEMU takes of this host's memory, as the kernel tells. */
import type { HostMemory, MemoryTeller } from "../../abilities.ts";
import type { LibvirtHost } from "../host.ts";
import { machineNames } from "../names.ts";
import { isQemuOf, readIfSeen, readPidFile } from "../domain/qemu-process.ts";
import { untilAborted } from "../../../core/until-aborted.ts";

/**
 * QEMU is found by the file that libvirt writes, and not by its arguments among all processes of the host: the kernel
 * lets nobody read them while a process changes its memory's map, so that any one that hangs there would hold the look up.
 */
export function createMemoryLook(host: Pick<LibvirtHost, "pidFile">): MemoryTeller["hostMemory"] {
  const looks = new Map<string, Promise<HostMemory | undefined>>();

  // A read that the kernel holds up cannot be ended and has one of Node's few threads for files: one a machine, at most.
  function lookOnce(id: string): Promise<HostMemory | undefined> {
    const { domain } = machineNames(id);
    const look = looks.get(id) ?? lookAt(host.pidFile(domain), domain).finally(() => looks.delete(id));
    looks.set(id, look);
    return look;
  }

  return async (id, signal) => await untilAborted(lookOnce(id), `looking at the memory of ${id}`, signal);
}

async function lookAt(pidFile: string | undefined, domain: string): Promise<HostMemory | undefined> {
  const pid = await readPidFile(pidFile);
  if (pid === undefined) return undefined;
  const memory = await processMemory(pid);
  // Only now: had the file outlived its QEMU, whoever has the number since would show.
  return (await isQemuOf(domain, pid)) ? memory : undefined;
}

/**
 * `undefined` for a process that has ended, or may not be looked at. What is swapped out is in neither number, nor are
 * pages of hugetlbfs, which no machine of ours has. The kernel's Documentation/filesystems/proc.rst has the fields.
 */
export async function processMemory(pid: number): Promise<HostMemory | undefined> {
  const text = await readIfSeen(`/proc/${pid}/smaps_rollup`);
  if (text === undefined) return undefined;
  const bytes = (field: string) =>
    Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(text)?.[1] ?? Number.NaN) * 1024;
  const privateBytes = bytes("Private_Clean") + bytes("Private_Dirty");
  const proportionalBytes = bytes("Pss");
  return Number.isNaN(privateBytes + proportionalBytes) ? undefined : { privateBytes, proportionalBytes };
}
