/** The same image booted by QEMU alone, the way its publisher means it: firmware, boot loader, init, cloud-init. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { makeSeedIso } from "../src/backends/libvirt/preparation/seed.ts";
import type { ImageInfo } from "../src/sdk/index.ts";
import { measureQemu, type QemuMemory } from "./qemu-process.ts";

export interface StockBoot {
  /** cloud-init's first stage runs commands (`bootcmd`). */
  firstStageMs: number;
  /** cloud-init runs what its user asks for (`runcmd`). */
  userCommandsMs: number;
  /** Then. */
  memory: QemuMemory;
}

export interface StockMachine {
  image: Pick<ImageInfo, "path" | "format">;
  accelerator: string;
  memoryBytes: number;
}

const timeoutMs = 600_000;

/** One vCPU, a network card that leads nowhere, a disk of its own on the image; all of it is gone afterwards. */
export async function bootStock({ image, accelerator, memoryBytes }: StockMachine): Promise<StockBoot> {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-stock-"));
  const [disk, seed] = [join(folder, "disk.qcow2"), join(folder, "seed.iso")];
  const mark = randomBytes(8).toString("hex");
  const signal = AbortSignal.timeout(timeoutMs);
  let qemu: ChildProcess | undefined;
  try {
    const onImage = ["-b", image.path, "-F", image.format];
    await promisify(execFile)("qemu-img", ["create", "-q", "-f", "qcow2", ...onImage, disk]);
    await writeFile(seed, await makeSeedIso(userData(mark), signal));
    const begin = performance.now();
    qemu = spawn("qemu-system-x86_64", qemuArgs(disk, seed, accelerator, memoryBytes), {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const { firstStage, userCommands } = await watchSerial(qemu, mark, signal);
    const memory = await measureQemu(qemu.pid ?? 0, memoryBytes);
    return { firstStageMs: firstStage - begin, userCommandsMs: userCommands - begin, memory };
  } finally {
    await end(qemu);
    await rm(folder, { recursive: true, force: true });
  }
}

function qemuArgs(disk: string, seed: string, accelerator: string, memoryBytes: number): string[] {
  const options: Record<string, string> = {
    machine: `q35,accel=${accelerator}`,
    cpu: accelerator === "kvm" ? "host" : "max",
    smp: "1",
    m: `size=${Math.ceil(memoryBytes / 1024)}k`,
    display: "none",
    // Without a card, what waits for a network waits for its time to run out.
    nic: "user,model=virtio-net-pci,restrict=on",
    serial: "stdio",
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`-${name}`, value]);
  return [
    ...args,
    "-nodefaults",
    "-drive",
    drive("qcow2", disk),
    "-drive",
    `${drive("raw", seed)},readonly=on`,
  ];
}

function drive(format: string, path: string): string {
  return `if=virtio,format=${format},file=${path.replaceAll(",", ",,")}`;
}

/** cloud-init's files. JSON is YAML. */
function userData(mark: string): Record<string, string> {
  const print = (stage: string) => ["sh", "-c", `echo ${stage}-${mark} > /dev/ttyS0`];
  return {
    "meta-data": JSON.stringify({ "instance-id": mark, "local-hostname": "stock" }),
    "user-data": `#cloud-config\n${JSON.stringify({ bootcmd: [print("first")], runcmd: [print("user")] })}\n`,
  };
}

/** When each of the two marks was seen. */
function watchSerial(
  qemu: ChildProcess,
  mark: string,
  signal: AbortSignal,
): Promise<{ firstStage: number; userCommands: number }> {
  return new Promise((resolve, reject) => {
    let seen = "";
    let firstStage: number | undefined;
    const fail = (why: string): void => reject(new Error(`${why}; its console: ${seen.slice(-2000)}`));
    qemu.once("error", reject);
    qemu.once("exit", (code) => fail(`QEMU ended with ${code}`));
    signal.addEventListener("abort", () => fail("the stock boot took too long"), { once: true });
    qemu.stdout?.setEncoding("utf8").on("data", (text: string) => {
      // A mark may come in two parts.
      seen = (seen + text).slice(-65_536);
      const now = performance.now();
      if (firstStage === undefined && seen.includes(`first-${mark}`)) firstStage = now;
      if (seen.includes(`user-${mark}`)) resolve({ firstStage: firstStage ?? now, userCommands: now });
    });
  });
}

async function end(qemu: ChildProcess | undefined): Promise<void> {
  if (qemu?.pid === undefined || qemu.exitCode !== null || qemu.signalCode !== null) return;
  const ended = new Promise((resolve) => qemu.once("exit", resolve));
  qemu.kill("SIGKILL");
  await ended;
}
