/** A process of this host that stands in for QEMU: what is asked of that are its arguments, its memory and its end. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { onTestFinished } from "vitest";

export type StandIn = ChildProcess & { pid: number };

/** As libvirt gives them to a domain's QEMU. */
export const qemuArgs = (domain: string): string[] => ["-name", `guest=${domain},debug-threads=on`, "-S"];

/** Python, until the test ends; has done what the script says. */
export async function startStandIn(args: readonly string[], script = ""): Promise<StandIn> {
  const program = `${script}\nprint(flush=True)\nimport time\ntime.sleep(600)`;
  const child = spawn("python3", ["-c", program, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => endStandIn(child));
  await once(child.stdout, "data");
  return Object.assign(child, { pid: Number(child.pid) });
}

export async function endStandIn(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
