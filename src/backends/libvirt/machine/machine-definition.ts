/** What a sandbox's machine is defined as, and what can be known to be impossible before. */
import { realpath, stat } from "node:fs/promises";

import { errnoOf, HeyvmError, InvalidArgumentError } from "../../../errors/index.ts";
import type { Image } from "../../../images/image.ts";
import type { GuestMount, MachineSpec, StartedMachine } from "../../backend.ts";
import { type AccelerationSettings, chooseAcceleration } from "../acceleration/acceleration.ts";
import { uuidOf } from "../domain/domain-metadata.ts";
import { buildDomainXml, type DomainShape } from "../domain/domain-xml.ts";
import {
  HostMemoryError,
  MountGoneError,
  MountMovedError,
  MountUnreachableError,
  MountUnreadableError,
} from "../errors.ts";
import { blockedAt } from "../storage/file-access.ts";
import type { LibvirtHost } from "../host.ts";
import { machineNames, uuidFor } from "../names.ts";
import { openNetwork } from "../network/network.ts";
import { ForeignMachineError, isForeign, type Ownership } from "./ownership.ts";
import type { PreparedDisks } from "../preparation/prepared-disk.ts";
import type { Turns } from "./turns.ts";
import type { Shells } from "../template/shells.ts";
import type { MachineShape } from "../template/template-key.ts";
import type { Templates } from "../template/templates.ts";

export interface MachineSettings extends Ownership, AccelerationSettings {
  /** Folder of sockets: passt's, and those that states go through. */
  runtimeFolder: string;
  /** QEMU's cache of translated code; absent: by the size of the machine. */
  translationCacheBytes?: number | undefined;
}

/** What work on machines needs. */
export interface MachineDependencies {
  host: LibvirtHost;
  prepared: PreparedDisks;
  templates: Templates;
  shells: Shells;
  turns: Turns;
  settings: MachineSettings;
}

/** Defines the machine as it boots, and opens its network. */
export async function defineMachine(
  dependencies: Pick<MachineDependencies, "host" | "settings">,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<{ shape: DomainShape; started: Omit<StartedMachine, "start"> }> {
  const { host, settings } = dependencies;
  const names = machineNames(spec.id);
  const existing = await host.domains.xml(names.domain, signal);
  if (existing !== undefined && isForeign(settings, existing))
    throw new ForeignMachineError(names.domain, host.uri);
  const storage = await host.storage(signal);
  const machine = await machineShapeOf(dependencies, spec, signal);
  // As late as can be: what was checked when the sandbox was asked for may be a link by now.
  for (const { hostPath } of spec.mounts) await checkUnmoved(hostPath);
  const network = spec.network
    ? await openNetwork(host, settings.runtimeFolder, spec.id, signal)
    : { shape: { kind: "none" as const }, warnings: [] };
  const mounts = spec.mounts.map((mount, index) => ({ ...mount, tag: `mount${index}` }));
  const shape: DomainShape = {
    name: names.domain,
    // libvirt lets nobody change it, whatever it was made from.
    uuid: (existing && uuidOf(existing)) ?? uuidFor(`${settings.owner} ${spec.id}`),
    title: titleOf(spec),
    metadata: {
      kind: "sandbox",
      id: spec.id,
      owner: settings.owner,
      spec: { ...spec, mounts: [...spec.mounts] },
    },
    ...machine.shape,
    translationCacheBytes: settings.translationCacheBytes,
    disks: [{ path: storage.path(names.disk), format: "qcow2", readOnly: false }],
    mounts,
    network: network.shape,
    consoleLogPath: storage.path(names.consoleLog),
  };
  await host.domains.define(buildDomainXml(shape), signal);
  const guestMounts: GuestMount[] = mounts.map(({ tag, guestPath, readOnly }) => ({
    tag,
    guestPath,
    readOnly,
  }));
  const warnings = [...host.warnings(), ...machine.slow, ...network.warnings];
  return { shape, started: { guestMounts, warnings } };
}

/** What of a machine its template has to share. */
export async function machineShapeOf(
  { host, settings }: Pick<MachineDependencies, "host" | "settings">,
  spec: Pick<MachineSpec, "image" | "cpus" | "memoryBytes">,
  signal: AbortSignal,
): Promise<{ shape: MachineShape; slow: readonly string[] }> {
  const { architecture } = imageOf(spec);
  const acceleration = await chooseAcceleration(host, architecture, settings, signal);
  const { accelerator, warning } = acceleration;
  return {
    shape: { architecture, accelerator, ...machineSizeOf(spec) },
    slow: warning === undefined ? [] : [warning],
  };
}

/** A machine has whole CPUs, and memory in whole MiB. */
export function machineSizeOf({
  cpus,
  memoryBytes,
}: Pick<MachineSpec, "cpus" | "memoryBytes">): Pick<MachineShape, "vcpus" | "memoryBytes"> {
  return {
    // Fractions of a CPU are a matter of quotas, which an unprivileged libvirt cannot set.
    vcpus: Math.max(1, Math.ceil(cpus)),
    // QEMU takes odd sizes of memory, guests do not.
    memoryBytes: Math.ceil(memoryBytes / 1024 ** 2) * 1024 ** 2,
  };
}

/** What can be known to be impossible before anything is made. */
export async function checkHost(host: LibvirtHost, spec: MachineSpec, signal: AbortSignal): Promise<void> {
  const { memoryBytes, qemuAccount } = await host.capabilities(signal);
  if (spec.memoryBytes > memoryBytes) throw new HostMemoryError(spec.memoryBytes, memoryBytes);
  if (spec.mounts.length > 0 && !host.isLocal) {
    throw new HeyvmError(
      "unsupported",
      `folders of this host cannot be mounted by a machine at ${host.uri}`,
      {
        hint: "copy files with heyvm cp, or use qemu:///session",
      },
    );
  }
  for (const { hostPath } of spec.mounts) {
    // XML has no way to write them.
    // oxlint-disable-next-line no-control-regex -- they are what is refused
    if (/[\u0000-\u001f\ufffe\uffff]/.test(hostPath)) {
      throw new InvalidArgumentError(
        "mount",
        `libvirt cannot mount a folder with a control character in its name: ${JSON.stringify(hostPath)}`,
      );
    }
    // Before anybody is told to open it to QEMU's user.
    await checkUnmoved(hostPath);
    if (qemuAccount === undefined) continue;
    const blocked = await blockedAt(hostPath, qemuAccount);
    if (blocked !== undefined) throw new MountUnreachableError(hostPath, blocked, qemuAccount.uid);
  }
}

/** QEMU follows a link at the mount's root. */
async function checkUnmoved(hostPath: string): Promise<void> {
  try {
    const found = await realpath(hostPath);
    if (found !== hostPath) throw new MountMovedError(hostPath, found);
    if (!(await stat(found)).isDirectory()) throw new Error("it is no folder");
  } catch (error) {
    if (error instanceof HeyvmError) throw error;
    const isGone = errnoOf(error) === "ENOENT";
    throw isGone ? new MountGoneError(hostPath, error) : new MountUnreadableError(hostPath, error);
  }
}

/** The image that every machine here needs. */
export function imageOf(spec: Pick<MachineSpec, "image">): Image {
  if (spec.image !== undefined) return spec.image;
  throw new InvalidArgumentError(
    "image",
    "the libvirt backend makes machines of images, and none was given",
    {
      hint: "add --image debian:12",
    },
  );
}

/** What other tools show of a machine: one line, as libvirt wants it. */
export function titleOf(spec: MachineSpec): string {
  const title = `${spec.name} (${imageOf(spec).reference})`;
  // oxlint-disable-next-line no-control-regex -- they are what is removed
  return title.replace(/[\u0000-\u001f\u007f\ufffe\uffff]/g, " ").slice(0, 200);
}
