/**
 * A backend for tests: the real agent as a local process in a bubblewrap namespace with a file tree, a host name and
 * processes of its own, on a unix socket. No virtual machine, no isolation worth the name: never part of the product.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";

import { z } from "zod";

import type { MemoryTeller, MountTeller, Pausable } from "../../backends/abilities.ts";
import type {
  Backend,
  DoctorCheck,
  MachineSpec,
  MachineState,
  MachineStatus,
} from "../../backends/backend.ts";
import { processMemory } from "../../backends/libvirt/machine/host-memory.ts";
import { writeFileAtomic } from "../../core/atomic-file.ts";
import { errnoOf, HeyvmError } from "../../errors/index.ts";

const agentPath = fileURLToPath(new URL("../../../guest/agent.py", import.meta.url));
const guestSocket = "/run/agent.sock";
/** A guest that makes this file reboots. */
const rebootFile = "reboot";
/** While a guest has this file, its host has no room for what it writes, and holds it. */
const heldFile = "held";
/** A guest with this file cannot be removed. */
const lastingFile = "lasting";
/** While a file of the folder's name with this is there, the backend cannot be asked. */
export const awaySuffix = ".away";
/** A file of the folder's name with this names files, one a line, that the doctor misses while they are not there. */
export const wantedSuffix = ".wanted";
/** What the machine of a folder sees of the host. */
const mountsFile = "mounts.json";
const watchIntervalMs = 100;

/** A signal to the group 0 would go to ourselves and the whole run of tests, one to 1 to everybody. */
const machineSchema = z.object({ pid: z.int().min(2), paused: z.boolean() });
type Machine = z.infer<typeof machineSchema>;

/** All machines live in `folder`, so that another process with the same folder finds them. */
export function createProcessBackend(
  folder: string,
  options: { usesImages: boolean },
): Backend & MountTeller & MemoryTeller & Pausable {
  const listeners = new Set<(status: MachineStatus) => void>();
  const lastSeen = new Map<string, MachineState>();
  let launched = 0;
  const look = setInterval(() => void tellChanges(), watchIntervalMs);

  const specs = new Map<string, MachineSpec>();
  const reboots = new Map<string, Promise<void>>();

  async function reboot(id: string): Promise<void> {
    const spec = specs.get(id);
    if (spec === undefined) return;
    await rm(join(folder, id, "root", rebootFile));
    await kill(folder, id);
    await launch(folder, spec);
    launched += 1;
    const status = await statusOf(folder, id);
    for (const listener of listeners) listener({ ...status, rebooted: true });
  }

  async function tellChanges(): Promise<void> {
    for (const id of await idsIn(folder)) {
      if (reboots.has(id)) continue;
      if (existsSync(join(folder, id, "root", rebootFile))) {
        reboots.set(id, reboot(id));
        await reboots.get(id);
        reboots.delete(id);
        continue;
      }
      const launchedBefore = launched;
      // One that is being removed may have lost its process already.
      if (existsSync(join(folder, id, "root", heldFile))) await hold(folder, id, true).catch(() => undefined);
      const status = await statusOf(folder, id);
      // It may be of the time before a start or a resume.
      if (launched !== launchedBefore) continue;
      const before = lastSeen.get(id);
      lastSeen.set(id, status.state);
      if (before === undefined || before === status.state) continue;
      for (const listener of listeners) listener(status);
    }
  }

  return {
    name: "libvirt",
    description: "test backend",
    usesImages: options.usesImages,
    takesUri: true,
    availability: async () =>
      await Promise.resolve(
        existsSync(folder + awaySuffix)
          ? { available: false, reason: "it is away", hint: "bring it back" }
          : { available: true },
      ),
    diagnose: async () => [
      { id: "test.ok", title: "Test", verdict: "warning", message: "a test backend", fixable: false },
      ...(await checkWanted(folder)),
    ],
    async create(spec, { signal, onStep, lastLook, boot }) {
      onStep({ id: "disk", title: "Making a folder", state: "started" });
      await lastLook?.();
      specs.set(spec.id, spec);
      await makeRoot(folder, spec);
      signal.throwIfAborted();
      await launch(folder, spec);
      lastSeen.set(spec.id, "running");
      launched += 1;
      onStep({ id: "disk", title: "Making a folder", state: "done" });
      return {
        guestMounts: [],
        warnings: ["this is a test backend"],
        start: { how: "booted", reason: boot },
      };
    },
    async checkStart(spec) {
      for (const { hostPath } of spec.mounts) await stat(hostPath);
    },
    async start(spec) {
      await this.checkStart(spec, new AbortController().signal);
      specs.set(spec.id, spec);
      await launch(folder, spec);
      lastSeen.set(spec.id, "running");
      launched += 1;
      return { guestMounts: [], warnings: [], start: { how: "booted" } };
    },
    stop: async (id) => await kill(folder, id),
    async destroy(id) {
      refuseWhileAway(folder);
      if (existsSync(join(folder, id, "root", lastingFile))) throw new Error("it lasts");
      await kill(folder, id);
      await rm(join(folder, id), { recursive: true, force: true });
    },
    async status(id) {
      refuseWhileAway(folder);
      await reboots.get(id);
      return await statusOf(folder, id);
    },
    list: async () => await Promise.all((await idsIn(folder)).map(async (id) => await statusOf(folder, id))),
    openChannel: async (id, signal) => await openSocket(join(folder, id, "root", guestSocket), signal),
    readConsole: async () => await Promise.resolve(Buffer.from("test console\r\nsecond line\r\n")),
    watch(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async hostMemory(id) {
      const machine = await load(folder, id);
      return machine && (await processMemory(machine.pid));
    },
    async mountedMachines(known) {
      const ids = (await idsIn(folder)).filter((id) => !known.has(id));
      const running = ids.filter((id) => existsSync(join(folder, id, "machine.json")));
      return await Promise.all(
        running.map(async (id) => ({
          id,
          name: id,
          isForeign: false,
          isPrunable: true,
          lastResort: `kill the machine ${id}`,
          mounts: JSON.parse(await readFile(join(folder, id, mountsFile), "utf8")),
        })),
      );
    },
    imagesInUse: async () => await Promise.resolve(new Set<string>()),
    async prune(_signal, { keepIds, onWarning }) {
      const removed: string[] = [];
      for (const id of await idsIn(folder)) {
        if (keepIds.has(id)) continue;
        if (existsSync(join(folder, id, "root", lastingFile))) {
          onWarning(`kept machine ${id}`);
          continue;
        }
        await kill(folder, id);
        await rm(join(folder, id), { recursive: true, force: true });
        removed.push(`machine ${id}`);
      }
      return removed;
    },
    async close() {
      await Promise.resolve(clearInterval(look));
    },
    pause: async (id) => await hold(folder, id, true),
    async resume(id) {
      await hold(folder, id, false);
      lastSeen.set(id, "running");
      launched += 1;
    },
  };
}

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

async function makeRoot(folder: string, spec: MachineSpec): Promise<void> {
  const root = join(folder, spec.id, "root");
  for (const name of ["etc", "root", "run", "tmp", "var/log"]) {
    await mkdir(join(root, name), { recursive: true });
  }
  for (const name of ["bin", "sbin", "lib", "lib64"]) await symlink(`usr/${name}`, join(root, name));
  await writeFile(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  await writeFile(join(root, "etc/group"), "root:x:0:\n");
}

async function launch(folder: string, spec: MachineSpec): Promise<void> {
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
      agentPath,
      "/run/agent.py",
      ...words("--ro-bind /usr /usr --proc /proc --dev /dev"),
      "--ro-bind",
      bootIdPath,
      "/proc/sys/kernel/random/boot_id",
      ...mounts,
      ...words(`-- python3 /run/agent.py --listen-unix ${guestSocket}`),
    ],
    { detached: true, stdio: "ignore" },
  );
  const pid = await pidOf(child);
  child.unref();
  await save(folder, spec.id, { pid, paused: false });
}

async function checkWanted(folder: string): Promise<DoctorCheck[]> {
  const wanted = existsSync(folder + wantedSuffix) ? await readFile(folder + wantedSuffix, "utf8") : "";
  return wanted
    .split("\n")
    .filter((path) => path !== "")
    .map((path) => {
      const check = { id: "test.wanted", title: `The file ${path}` };
      return existsSync(path)
        ? { ...check, verdict: "ok", message: "there", fixable: false }
        : {
            ...check,
            verdict: "failure",
            message: "missing",
            fixable: true,
            remedy: { any: `touch ${path}` },
          };
    });
}

function refuseWhileAway(folder: string): void {
  if (existsSync(folder + awaySuffix)) {
    throw new HeyvmError("backend_unavailable", "it is away", { hint: "bring it back" });
  }
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

async function statusOf(folder: string, id: string): Promise<MachineStatus> {
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
async function kill(folder: string, id: string): Promise<void> {
  const machine = await load(folder, id);
  if (machine === undefined) return;
  if (await isAlive(machine.pid)) process.kill(-machine.pid, "SIGKILL");
  while (await isAlive(machine.pid)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await rm(join(folder, id, "machine.json"), { force: true });
}

async function hold(folder: string, id: string, paused: boolean): Promise<void> {
  const machine = await load(folder, id);
  if (machine?.paused === paused) return;
  if (machine === undefined) throw new HeyvmError("backend_failed", `machine ${id} is not up`);
  process.kill(-machine.pid, paused ? "SIGSTOP" : "SIGCONT");
  await save(folder, id, { ...machine, paused });
}

async function openSocket(path: string, signal: AbortSignal): Promise<Duplex> {
  signal.throwIfAborted();
  return await new Promise<Duplex>((resolve, reject) => {
    const socket = connect(path);
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

async function load(folder: string, id: string): Promise<Machine | undefined> {
  let text: string;
  try {
    text = await readFile(join(folder, id, "machine.json"), "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
  return machineSchema.parse(JSON.parse(text));
}

async function idsIn(folder: string): Promise<string[]> {
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
