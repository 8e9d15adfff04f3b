/** Checks of this host that need no libvirt. */
import { constants, readFile, statfs } from "node:fs/promises";
import { freemem } from "node:os";

import type { DoctorCheck } from "../../backend.ts";
import { checkKvm, emulatorName, hostArchitecture, type KvmCheckOptions } from "../acceleration/kvm-check.ts";
import type { KvmVerdict } from "../acceleration/kvm-verdict.ts";
import { findProgram, programVersion } from "../program.ts";
import { findIsoTool } from "../preparation/seed.ts";
import {
  type DeviceNode,
  type DeviceRemedy,
  deviceRemedy,
  type GroupMember,
  isForGroup,
  groupsOf,
  readDeviceNode,
  readGroupMember,
} from "./kvm-device.ts";
import { existingParent, opens } from "./opens.ts";
import { joinGroup, remedies } from "./remedies.ts";

const gibibyte = 1024 ** 3;
/** As `KvmCheckOptions.waitAfterMs`. */
const patienceMs = 60_000;

/**
 * KVM that runs a guest. Without it everything works, slowly: a warning. `offeredToOthers`: libvirt runs QEMU as
 * another user, for whom it has KVM.
 */
export async function kvmCheck(
  { offeredToOthers, ...options }: KvmCheckOptions & { offeredToOthers: boolean },
  signal: AbortSignal,
): Promise<DoctorCheck> {
  // Who asks the doctor may just have mended something.
  const verdict = await checkKvm({ waitAfterMs: patienceMs, ...options }, signal);
  const check = { id: "libvirt.kvm", title: "KVM boots a guest" };
  if (verdict.usable) return { ...check, verdict: "ok", message: verdict.message, fixable: false };
  if (verdict.problem === "permission" && offeredToOthers) {
    const message = "not tried, since this user may not open /dev/kvm; libvirt says that its QEMU may";
    return { ...check, verdict: "ok", message, fixable: false };
  }
  const { why, remedy } = await kvmRemedy(verdict, options.devicePath ?? "/dev/kvm");
  const seen = [verdict.message, why].filter((words) => words !== undefined).join(": ");
  const message = `${seen}; machines run in software emulation, ten to twenty times slower`;
  return { ...check, verdict: "warning", message, remedy, fixable: remedy !== undefined };
}

async function kvmRemedy({ problem }: KvmVerdict, device: string): Promise<Partial<DeviceRemedy>> {
  if (problem === "missing") return { remedy: remedies.kvmModule };
  if (problem === "qemu") return { remedy: remedies.qemu };
  if (problem !== "permission") return {};
  const node = await readDeviceNode(device);
  return node === undefined ? {} : deviceRemedy(node, await readGroupMember());
}

/** The programs that the backend runs or has libvirt run. */
export async function programChecks(signal: AbortSignal): Promise<DoctorCheck[]> {
  const iso = await findIsoTool();
  const emulator = emulatorName(hostArchitecture());
  return [
    program("libvirt.qemu", "QEMU", emulator, await programVersion(emulator, signal), remedies.qemu),
    program(
      "libvirt.qemu_img",
      "qemu-img",
      "qemu-img",
      await programVersion("qemu-img", signal),
      remedies.qemuImg,
    ),
    program("libvirt.iso_tool", "A program to make ISO images", "xorriso", iso?.program, remedies.isoTool),
    {
      ...program("libvirt.passt", "passt", "passt", await findProgram("passt"), remedies.passt),
      ...((await findProgram("passt")) === undefined
        ? {
            verdict: "warning",
            message: "passt is not installed: a guest with a network can reach this host's loopback",
          }
        : {}),
    },
  ];
}

function program(
  id: string,
  title: string,
  name: string,
  found: string | undefined,
  remedy: DoctorCheck["remedy"],
): DoctorCheck {
  return found === undefined
    ? { id, title, verdict: "failure", message: `${name} is not installed`, remedy, fixable: true }
    : { id, title, verdict: "ok", message: found, fixable: false };
}

export interface HostUser extends GroupMember {
  isRoot: boolean;
  /** Whether `/dev/kvm` opens, by whatever rule. */
  opensKvm: boolean;
  /** That of `/dev/kvm`, when there is one. */
  kvmNode: DeviceNode | undefined;
}

async function thisUser(): Promise<HostUser> {
  return {
    ...(await readGroupMember()),
    isRoot: process.getuid?.() === 0,
    kvmNode: await readDeviceNode("/dev/kvm"),
    opensKvm: await opens("/dev/kvm", constants.R_OK | constants.W_OK),
  };
}

/**
 * Whether this user is in the groups that open `/dev/kvm` and the system's libvirt. `connects`: libvirt let this user
 * in, by whatever rule.
 */
export async function groupChecks(uri: string, connects: boolean, user?: HostUser): Promise<DoctorCheck[]> {
  const { isRoot, groupIds, groups, opensKvm, kvmNode } = user ?? (await thisUser());
  const known = groupsOf(groups);
  const check = (name: "libvirt" | "kvm", needed: boolean, why: string): DoctorCheck => {
    const common = { id: `libvirt.group_${name}`, title: `Member of the group ${name}` };
    if (isRoot) return { ...common, verdict: "ok", message: "root needs no group", fixable: false };
    const group = known.find((candidate) => candidate.name === name);
    if (group !== undefined && groupIds.includes(group.id)) {
      return { ...common, verdict: "ok", message: "yes", fixable: false };
    }
    if (!needed)
      return { ...common, verdict: "ok", message: `no, and not needed for ${uri}`, fixable: false };
    if (group === undefined) {
      return { ...common, verdict: "warning", message: `there is no group ${name} here`, fixable: false };
    }
    return {
      ...common,
      verdict: "warning",
      message: `no, and ${why}; the command works after the next login`,
      remedy: joinGroup(name),
      fixable: true,
    };
  };
  // Where it is another group's, or no group's, the check of KVM itself has the remedy.
  const kvm = known.find(({ name }) => name === "kvm");
  const isForKvm = kvmNode !== undefined && kvmNode.groupId === kvm?.id && isForGroup(kvmNode);
  const isSystem = /^qemu(\+unix)?:\/\/\/system/.test(uri);
  return [
    check("libvirt", isSystem && !connects, `${uri} may refuse this user`),
    check("kvm", uri.endsWith("/session") && !opensKvm && isForKvm, "/dev/kvm cannot be opened"),
  ];
}

/** Room for disks (`folder` or its nearest existing parent) and for guests' memory. */
export async function roomChecks(folder: string, room?: HostRoom): Promise<DoctorCheck[]> {
  const { diskBytes, memoryBytes } = room ?? (await roomHere(folder));
  return [diskCheck(folder, diskBytes), memoryCheck(memoryBytes)];
}

export interface HostRoom {
  diskBytes: number;
  memoryBytes: number;
}

async function roomHere(folder: string): Promise<HostRoom> {
  const { bavail, bsize } = await statfs(await existingParent(folder));
  const text = await readFile("/proc/meminfo", "utf8").catch(() => "");
  const availableKibibytes = Number(/^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1] ?? freemem() / 1024);
  return { diskBytes: bavail * bsize, memoryBytes: availableKibibytes * 1024 };
}

function diskCheck(folder: string, free: number): DoctorCheck {
  const message = `${(free / gibibyte).toFixed(1)} GiB free for ${folder}`;
  const check = { id: "libvirt.disk", title: "Free disk space", message, fixable: false };
  if (free >= 5 * gibibyte) return { ...check, verdict: "ok" };
  return { ...check, verdict: free < gibibyte ? "failure" : "warning", remedy: remedies.freeDisk };
}

function memoryCheck(available: number): DoctorCheck {
  const message = `${(available / gibibyte).toFixed(1)} GiB available`;
  const check = { id: "libvirt.memory", title: "Free memory", message, fixable: false };
  if (available >= 1.5 * gibibyte) return { ...check, verdict: "ok" };
  return { ...check, verdict: available < gibibyte / 2 ? "failure" : "warning", remedy: remedies.freeMemory };
}
