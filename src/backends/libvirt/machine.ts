/** Making, starting, ending and removing one sandbox's machine. */
import { AbortedError, HeyvmError, InvalidArgumentError } from "../../errors/index.ts";
import type { GuestMount, MachineContext, MachineSpec, StartedMachine } from "../backend.ts";
import { chooseAcceleration } from "./acceleration.ts";
import { buildDomainXml } from "./domain-xml.ts";
import { HostMemoryError, MountUnreachableError } from "./errors.ts";
import { blockedAt } from "./file-access.ts";
import type { LibvirtHost } from "./host.ts";
import { machineNames, machineOfVolume, uuidFor } from "./names.ts";
import { closeNetwork, openNetwork } from "./network.ts";
import type { PreparedDisks } from "./prepared-disk.ts";

export interface MachineSettings {
  owner: string;
  kvmVerdictPath: string;
  /** Folder of passt's sockets. */
  networkFolder: string;
}

export interface MachineDependencies {
  host: LibvirtHost;
  prepared: PreparedDisks;
  settings: MachineSettings;
}

/** How long undoing may take; it does not end with the signal that ended the work. */
const undoTimeoutMs = 60_000;

/** Makes and starts a machine; on failure nothing of it is left. */
export async function createMachine(
  dependencies: MachineDependencies,
  spec: MachineSpec,
  context: MachineContext,
): Promise<StartedMachine> {
  const { host, prepared } = dependencies;
  const { signal, onStep } = context;
  const image = imageOf(spec);
  if (spec.diskBytes !== undefined && spec.diskBytes < image.virtualSizeBytes) {
    const least = Math.ceil(image.virtualSizeBytes / 1024 ** 2);
    throw new InvalidArgumentError(
      "disk",
      `a disk of ${spec.diskBytes} bytes is smaller than ${image.reference}`,
      {
        hint: `ask for --disk ${least}M or more, or leave --disk out`,
      },
    );
  }
  await checkHost(host, spec, signal);
  const preparedDisk = await prepared.ensure(image, spec.type, context);
  const storage = await host.storage(signal);
  const names = machineNames(spec.id);
  if (signal.aborted) throw new AbortedError(`creating ${spec.id}`, signal.reason);
  if ((await host.domains.status(names.domain, signal)) !== undefined) {
    // Another state folder's, perhaps: nothing to undo here.
    throw new HeyvmError("wrong_state", `a machine ${names.domain} exists already at ${host.uri}`, {
      hint: "create the sandbox again: it gets another id",
    });
  }
  try {
    return await reportStep(onStep, "machine", "Starting the machine", async () => {
      // The domain first: should we die now, its metadata tells whose the disk is.
      const started = await defineMachine(dependencies, spec, signal);
      const backing = { path: storage.path(preparedDisk), format: "qcow2" as const };
      await storage.createOverlay(names.disk, backing, spec.diskBytes ?? image.virtualSizeBytes, signal);
      await host.domains.start(names.domain, signal);
      return started;
    });
  } catch (error) {
    await destroyMachine(dependencies, spec.id, AbortSignal.timeout(undoTimeoutMs));
    if (signal.aborted) throw new AbortedError(`creating ${spec.id}`, error);
    throw error;
  }
}

/** Starts a machine that is off. */
export async function startMachine(
  dependencies: MachineDependencies,
  spec: MachineSpec,
  { signal, onStep }: MachineContext,
): Promise<StartedMachine> {
  const { host, settings } = dependencies;
  const { domain } = machineNames(spec.id);
  await checkHost(host, spec, signal);
  try {
    return await reportStep(onStep, "machine", "Starting the machine", async () => {
      // Defined anew: mounts may have been added, KVM may have come or gone.
      const started = await defineMachine(dependencies, spec, signal);
      await host.domains.start(domain, signal);
      return started;
    });
  } catch (error) {
    const undo = AbortSignal.timeout(undoTimeoutMs);
    await host.domains.powerOff(domain, undo).catch(() => undefined);
    await closeNetwork(settings.networkFolder, spec.id);
    if (signal.aborted) throw new AbortedError(`starting ${spec.id}`, error);
    throw error;
  }
}

/** Ends a machine; its disk stays. Idempotent. */
export async function stopMachine(
  { host, settings }: MachineDependencies,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  await host.domains.powerOff(machineNames(id).domain, signal);
  await closeNetwork(settings.networkFolder, id);
}

/** Removes a machine with everything that is its own. Idempotent. */
export async function destroyMachine(
  { host, settings }: MachineDependencies,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  const { domain } = machineNames(id);
  await host.domains.powerOff(domain, signal);
  await closeNetwork(settings.networkFolder, id);
  const storage = await host.storage(signal);
  for (const volume of await storage.list(signal)) {
    if (machineOfVolume(volume) === id) await storage.remove(volume, signal);
  }
  // Last: as long as anything is left, the domain tells of it.
  await host.domains.remove(domain, signal);
}

async function defineMachine(
  { host, settings }: MachineDependencies,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<StartedMachine> {
  const image = imageOf(spec);
  const names = machineNames(spec.id);
  const storage = await host.storage(signal);
  const acceleration = await chooseAcceleration(host, image.architecture, settings.kvmVerdictPath, signal);
  const network = spec.network
    ? await openNetwork(host, settings.networkFolder, spec.id, signal)
    : { shape: { kind: "none" as const }, warnings: [] };
  const mounts = spec.mounts.map((mount, index) => ({ ...mount, tag: `mount${index}` }));
  const xml = buildDomainXml({
    name: names.domain,
    uuid: uuidFor(`${settings.owner} ${spec.id}`),
    title: title(spec.name, image.reference),
    metadata: {
      kind: "sandbox",
      id: spec.id,
      owner: settings.owner,
      spec: { ...spec, mounts: [...spec.mounts] },
    },
    architecture: image.architecture,
    accelerator: acceleration.accelerator,
    // Fractions of a CPU are a matter of quotas, which an unprivileged libvirt cannot set.
    vcpus: Math.max(1, Math.ceil(spec.cpus)),
    memoryBytes: spec.memoryBytes,
    disks: [{ path: storage.path(names.disk), format: "qcow2", readOnly: false }],
    mounts,
    network: network.shape,
    consoleLogPath: storage.path(names.consoleLog),
  });
  await host.domains.define(xml, signal);
  const guestMounts: GuestMount[] = mounts.map(({ tag, guestPath, readOnly }) => ({
    tag,
    guestPath,
    readOnly,
  }));
  const slow = acceleration.warning === undefined ? [] : [acceleration.warning];
  return { guestMounts, warnings: [...host.warnings(), ...slow, ...network.warnings] };
}

/** What can be known to be impossible before anything is made. */
async function checkHost(host: LibvirtHost, spec: MachineSpec, signal: AbortSignal): Promise<void> {
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
    if (qemuAccount === undefined) continue;
    const blocked = await blockedAt(hostPath, qemuAccount);
    if (blocked !== undefined) throw new MountUnreachableError(hostPath, blocked, qemuAccount.uid);
  }
}

function imageOf(spec: MachineSpec) {
  if (spec.image !== undefined) return spec.image;
  throw new InvalidArgumentError(
    "image",
    "the libvirt backend makes machines of images, and none was given",
    {
      hint: "add --image debian:12",
    },
  );
}

/** One line, as libvirt wants it. */
function title(name: string, reference: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what is removed
  return `${name} (${reference})`.replace(/[\u0000-\u001f\u007f\ufffe\uffff]/g, " ").slice(0, 200);
}

async function reportStep<T>(
  onStep: MachineContext["onStep"],
  id: string,
  title: string,
  work: () => Promise<T>,
): Promise<T> {
  onStep({ id, title, state: "started" });
  const result = await work();
  onStep({ id, title, state: "done" });
  return result;
}
