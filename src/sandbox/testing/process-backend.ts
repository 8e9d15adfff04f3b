/**
 * A backend for tests: the real agent as a local process in a bubblewrap namespace with a file tree, a host name and
 * processes of its own, on a unix socket. No virtual machine, no isolation worth the name: never part of the product.
 */
import { existsSync } from "node:fs";
import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import type { MemoryTeller, MountTeller, Pausable } from "../../backends/abilities.ts";
import type {
  Backend,
  DoctorCheck,
  MachineSpec,
  MachineState,
  MachineStatus,
} from "../../backends/backend.ts";
import { processMemory } from "../../backends/libvirt/machine/host-memory.ts";
import { HeyvmError } from "../../errors/index.ts";
import {
  heldFile,
  hold,
  idsIn,
  kill,
  launch,
  load,
  makeRoot,
  mountsFile,
  openChannel,
  statusOf,
} from "./machine-processes.ts";

/** A guest that makes this file reboots. */
const rebootFile = "reboot";
/** A guest with this file cannot be removed. */
const lastingFile = "lasting";
/** While a file of the folder's name with this is there, the backend cannot be asked. */
export const awaySuffix = ".away";
/** A file of the folder's name with this names files, one a line, that the doctor misses while they are not there. */
export const wantedSuffix = ".wanted";
const watchIntervalMs = 100;

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
    openChannel: async (id, signal) => await openChannel(folder, id, signal),
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
