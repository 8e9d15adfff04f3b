/** The machines of the tests' backend: processes of this host in namespaces, a folder each, known by what is in it. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";

import { z } from "zod";

import type { MachineSpec, MachineStatus } from "../../backends/backend.ts";
import { writeFileAtomic } from "../../core/atomic-file.ts";
import { errnoOf, HeyvmError } from "../../errors/index.ts";

const agentFolder = fileURLToPath(new URL("../../../guest", import.meta.url));
const guestSocket = "/run/agent.sock";
/** While a guest has this file, its host has no room for what it writes, and holds it. */
export const heldFile = "held";
/** What the machine of a folder sees of the host. */
export const mountsFile = "mounts.json";

/** A signal to the group 0 would go to ourselves and the whole run of tests, one to 1 to everybody. */
const machineSchema = z.object({ pid: z.int().min(2), paused: z.boolean() });
type Machine = z.infer<typeof machineSchema>;

/** Ends every machine of the folder, for a test's end. */
export async function killAllMachines(folder: string): Promise<void> {
  for (const id of await idsIn(folder)) await kill(folder, id);
}

/** Ends a machine as a crash would: nobody is told. */
export async function crashMachine(folder: string, id: string): Promise<void> {
  const machine = await load(folder, id);
  if (machine === undefined) throw new Error(`machine ${id} is not up`);
  process.kill(-machine.pid, "SIGKILL");
}

/** The file tree that its guest begins with. */
export async function makeRoot(folder: string, spec: MachineSpec): Promise<void> {
  const root = join(folder, spec.id, "root");
  for (const name of ["etc", "root", "run", "tmp", "var/log"]) {
    await mkdir(join(root, name), { recursive: true });
  }
  for (const name of ["bin", "sbin", "lib", "lib64"]) await symlink(`usr/${name}`, join(root, name));
  await writeFile(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  await writeFile(join(root, "etc/group"), "root:x:0:\n");
}

/** Boots it. */
export async function launch(folder: string, spec: MachineSpec): Promise<void> {
  const root = join(folder, spec.id, "root");
  await rm(join(root, guestSocket), { force: true });
  const mounts = spec.mounts.flatMap(({ hostPath, guestPath, readOnly }) => [
    readOnly ? "--ro-bind" : "--bind",
    hostPath,
    guestPath,
  ]);
  await writeFile(join(folder, spec.id, mountsFile), JSON.stringify(spec.mounts));
  // Each launch is a boot.
  const bootIdPath = join(folder, spec.id, "boot_id");
  await writeFile(bootIdPath, `${randomUUID()}\n`);
  const child = spawn(
    "bwrap",
    [
      ...words("--unshare-user --uid 0 --gid 0 --cap-add ALL --unshare-pid --unshare-uts --unshare-ipc"),
      ...words("--clearenv --setenv PATH /usr/bin:/usr/sbin"),
      "--bind",
      root,
      "/",
      "--ro-bind",
      agentFolder,
      "/run/heyvm",
      ...words("--ro-bind /usr /usr --proc /proc --dev /dev"),
      "--ro-bind",
      bootIdPath,
      "/proc/sys/kernel/random/boot_id",
      ...mounts,
      ...words(`-- python3 /run/heyvm/agent.py --listen-unix ${guestSocket}`),
    ],
    { detached: true, stdio: "ignore" },
  );
  const pid = await pidOf(child);
  child.unref();
  await save(folder, spec.id, { pid, paused: false });
}

function words(text: string): string[] {
  return text.split(" ");
}

async function pidOf(child: ChildProcess): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  if (child.pid === undefined) throw new Error("bwrap has no pid");
  return child.pid;
}

export async function statusOf(folder: string, id: string): Promise<MachineStatus> {
  const machine = await load(folder, id);
  if (machine === undefined) {
    return { id, state: (await idsIn(folder)).includes(id) ? "stopped" : "absent" };
  }
  if (!(await isAlive(machine.pid))) return { id, state: "stopped" };
  if (existsSync(join(folder, id, "root", heldFile))) {
    return { id, state: "paused", reason: "the host could not write its disk", code: "disk_full" };
  }
  return { id, state: machine.paused ? "paused" : "running" };
}

/** The whole process group: bwrap, its init and the agent; with the init, all in its namespace goes. */
export async function kill(folder: string, id: string): Promise<void> {
  const machine = await load(folder, id);
  if (machine === undefined) return;
  if (await isAlive(machine.pid)) process.kill(-machine.pid, "SIGKILL");
  while (await isAlive(machine.pid)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await rm(join(folder, id, "machine.json"), { force: true });
}

/** Stops it, or has it go on. */
export async function hold(folder: string, id: string, paused: boolean): Promise<void> {
  const machine = await load(folder, id);
  if (machine?.paused === paused) return;
  if (machine === undefined) throw new HeyvmError("backend_failed", `machine ${id} is not up`);
  process.kill(-machine.pid, paused ? "SIGSTOP" : "SIGCONT");
  await save(folder, id, { ...machine, paused });
}

export async function openChannel(folder: string, id: string, signal: AbortSignal): Promise<Duplex> {
  signal.throwIfAborted();
  return await new Promise<Duplex>((resolve, reject) => {
    const socket = connect(join(folder, id, "root", guestSocket));
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
  });
}

/** Whole at any moment: others read it meanwhile. */
async function save(folder: string, id: string, machine: Machine): Promise<void> {
  await writeFileAtomic(join(folder, id, "machine.json"), JSON.stringify(machine));
}

/** `undefined` for one that is off. */
export async function load(folder: string, id: string): Promise<Machine | undefined> {
  let text: string;
  try {
    text = await readFile(join(folder, id, "machine.json"), "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
  return machineSchema.parse(JSON.parse(text));
}

export async function idsIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** A zombie, which nobody may have waited for yet, is dead. */
async function isAlive(pid: number): Promise<boolean> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) !== "Z";
  } catch {
    return false;
  }
}
