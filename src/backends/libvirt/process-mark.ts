/** Tells whether the process that left something behind is still there. */
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";

import type { PreparationMetadata, ProcessMark } from "./domain/domain-metadata.ts";

/** Changes with each boot of this host; empty where the system does not tell. */
export async function hostBootId(): Promise<string> {
  return (await readText("/proc/sys/kernel/random/boot_id")).trim();
}

/** The mark of this process. */
export async function markOfThisProcess(): Promise<ProcessMark> {
  return {
    host: hostname(),
    bootId: await hostBootId(),
    pid: process.pid,
    startTicks: await startTicks(process.pid),
  };
}

/** What this process has a domain say of itself while it makes a shared disk. */
export async function ownPreparation(
  what: Pick<PreparationMetadata, "owner" | "key" | "build">,
): Promise<PreparationMetadata> {
  return { kind: "preparation", id: `preparing-${what.build}`, ...what, maker: await markOfThisProcess() };
}

/**
 * Whether the marked process lives. `isOwn`: it worked for this state folder, so it was here, whatever the host's name
 * was. Of others, those of another host cannot be seen from here and count as alive; by its name alone no host is told
 * from another, so one of another boot is another host's.
 */
export async function isAlive(mark: ProcessMark, isOwn: boolean): Promise<boolean> {
  if (mark.bootId !== (await hostBootId())) return !isOwn;
  // Containers share the boot, not their processes.
  if (mark.host !== hostname() && !isOwn) return true;
  const ticks = await startTicks(mark.pid);
  return ticks !== "" && ticks === mark.startTicks;
}

/**
 * Field 22 of `/proc/<pid>/stat`; the second field may hold spaces and parentheses. Empty for a process that has ended,
 * also when its parent has not taken note (state `Z`).
 */
async function startTicks(pid: number): Promise<string> {
  const stat = await readText(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" ? "" : (fields[19] ?? "");
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return "";
  }
}
