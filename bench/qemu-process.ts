/** What a machine's QEMU costs this host, as `/proc` tells it. */
import { readdir, readFile } from "node:fs/promises";

import type { Sandbox } from "../src/sdk/index.ts";
import { median } from "./statistics.ts";

export interface QemuProcess {
  pid: number;
  args: readonly string[];
}

/** One process's memory. All in bytes. */
export interface QemuMemory {
  /** What would be free if this process ended: `Private_Clean` and `Private_Dirty`. */
  privateBytes: number;
  /** With its share of what it has in common with others (PSS). */
  proportionalBytes: number;
  residentBytes: number;
  /** `privateBytes`, by what it is for. */
  private: {
    /** Pages that the guest has written: this machine's own. */
    guestWritten: number;
    /** Pages of the template's file that only this machine has looked at so far. */
    guestRead: number;
    /** QEMU's cache of translated code, under emulation. */
    translatedCode: number;
    rest: number;
  };
}

/** `getconf CLK_TCK`, which Linux has not changed for any architecture that we run on. */
const ticksPerSecond = 100;

/** The QEMU of a sandbox; libvirt puts the domain's name on its command line. */
export async function findQemu(sandbox: Sandbox): Promise<QemuProcess> {
  const mark = `guest=heyvm-${sandbox.id},`;
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    // A process that ends meanwhile is not the one.
    const args = (await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "")).split("\0");
    if (args.some((arg) => arg.startsWith(mark))) return { pid: Number(entry), args };
  }
  throw new Error(`no process of this host is the QEMU of ${sandbox.id}`);
}

/** User and system time together. */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // The program's name, in brackets, may have blanks in it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** `guestBytes`: the size of the guest's memory, by which its mapping is known. */
export async function measureQemu(pid: number, guestBytes: number): Promise<QemuMemory> {
  const memory: QemuMemory = {
    privateBytes: 0,
    proportionalBytes: 0,
    residentBytes: 0,
    private: { guestWritten: 0, guestRead: 0, translatedCode: 0, rest: 0 },
  };
  for (const mapping of parseMappings(await readFile(`/proc/${pid}/smaps`, "utf8"))) {
    const [clean, dirty] = [mapping.bytes("Private_Clean"), mapping.bytes("Private_Dirty")];
    memory.privateBytes += clean + dirty;
    memory.proportionalBytes += mapping.bytes("Pss");
    memory.residentBytes += mapping.bytes("Rss");
    if (mapping.bytes("Size") >= guestBytes) {
      memory.private.guestWritten += dirty;
      memory.private.guestRead += clean;
    } else if (mapping.access.includes("wx")) {
      memory.private.translatedCode += clean + dirty;
    } else {
      memory.private.rest += clean + dirty;
    }
  }
  return memory;
}

/** Field by field: the parts need not add up to the whole. */
export function medianMemory(memories: readonly QemuMemory[]): QemuMemory {
  const middle = (pick: (memory: QemuMemory) => number): number => median(memories.map(pick));
  return {
    privateBytes: middle((memory) => memory.privateBytes),
    proportionalBytes: middle((memory) => memory.proportionalBytes),
    residentBytes: middle((memory) => memory.residentBytes),
    private: {
      guestWritten: middle((memory) => memory.private.guestWritten),
      guestRead: middle((memory) => memory.private.guestRead),
      translatedCode: middle((memory) => memory.private.translatedCode),
      rest: middle((memory) => memory.private.rest),
    },
  };
}

interface Mapping {
  /** `rw-p` and the like. */
  access: string;
  bytes: (field: string) => number;
}

function parseMappings(smaps: string): Mapping[] {
  return smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m).map((text) => ({
    access: text.split(" ", 2)[1] ?? "",
    bytes: (field) => Number(new RegExp(`^${field}:\\s*(\\d+) kB$`, "m").exec(text)?.[1] ?? 0) * 1024,
  }));
}

export function formatMb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
