/** Resident memory of the two processes that every byte of a copy passes through. */
import { readFile, writeFile } from "node:fs/promises";

import { statePaths } from "../src/config/paths.ts";
import type { Sandbox } from "../src/sdk/index.ts";

export interface ProcessMemory {
  residentBytes: number;
  /** Since `forgetPeaks`. */
  peakBytes: number;
}

export interface Memory {
  daemon: ProcessMemory;
  agent: ProcessMemory;
}

/** The value that makes `/proc/<pid>/clear_refs` set the peak to what is resident now. */
const forgetPeak = "5";

/** Memory of the daemon on this host, and of the agent in the guest. */
export async function measureMemory(sandbox: Sandbox): Promise<Memory> {
  return {
    daemon: parseStatus(await readFile(`/proc/${await daemonPid()}/status`, "utf8")),
    agent: parseStatus(await ofAgent(sandbox, "cat /proc/$PPID/status")),
  };
}

export async function forgetPeaks(sandbox: Sandbox): Promise<void> {
  await writeFile(`/proc/${await daemonPid()}/clear_refs`, forgetPeak);
  await ofAgent(sandbox, `echo ${forgetPeak} > /proc/$PPID/clear_refs`);
}

async function daemonPid(): Promise<number> {
  const info: unknown = JSON.parse(await readFile(statePaths().daemonInfo, "utf8"));
  if (typeof info === "object" && info !== null && "pid" in info && typeof info.pid === "number") {
    return info.pid;
  }
  throw new Error(`${statePaths().daemonInfo} names no process`);
}

/** A command's parent is the agent. */
async function ofAgent(sandbox: Sandbox, script: string): Promise<string> {
  const checked = `grep -qz agent.py "/proc/$PPID/cmdline" && ${script}`;
  const { stdout, stderr, exitCode } = await sandbox.exec("sh", ["-c", checked]);
  if (exitCode !== 0) throw new Error(`cannot look at the agent's memory: ${stderr}`);
  return stdout;
}

function parseStatus(text: string): ProcessMemory {
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, "m").exec(text)?.[1]) * 1024;
  return { residentBytes: bytes("VmRSS"), peakBytes: bytes("VmHWM") };
}
