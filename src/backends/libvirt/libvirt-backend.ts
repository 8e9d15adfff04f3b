/** The libvirt backend: full virtual machines of cloud images, run by QEMU under libvirt's control. */
import { hostname } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";

import type { Backend, MachineStatus, Pausable } from "../backend.ts";
import { toHeyvmError } from "../../errors/index.ts";
import { acceleratorFor, chooseAcceleration } from "./acceleration.ts";
import { readConsoleLog } from "./console-log.ts";
import { diagnoseHost } from "./doctor/diagnose.ts";
import type { DomainStatus, LibvirtHost } from "./host.ts";
import { hostArchitecture } from "./kvm-check.ts";
import {
  createMachine,
  destroyMachine,
  type MachineDependencies,
  startMachine,
  stopMachine,
} from "./machine.ts";
import { agentChannel, machineNames, machineOfDomain } from "./names.ts";
import { passtFolder } from "./passt.ts";
import { createPreparedDisks } from "./prepared-disk.ts";
import { imagesInUse, ownMachines, prune, removeDeadPreparations } from "./prune.ts";

export interface LibvirtBackendOptions {
  /** `qemu:///session`, `qemu:///system`, `qemu+ssh://…`, `qemu+tcp://…` */
  uri: string;
  /** heyvm's state folder: the verdict on KVM and the logs of failed preparations are kept there. */
  stateFolder: string;
  /** Where images are looked for, for the doctor. */
  imageFolders?: readonly string[] | undefined;
  /** How long the agent may take to answer when a disk is prepared; default ten minutes. */
  agentTimeoutMs?: number | undefined;
}

/** The backend on a host that the caller has; see `createLibvirtBackend`. */
export function createBackendOn(host: LibvirtHost, options: LibvirtBackendOptions): Backend & Pausable {
  const kvmVerdictPath = join(options.stateFolder, "kvm.json");
  const owner = `${hostname()}:${options.stateFolder}`;
  const prepared = createPreparedDisks(host, {
    owner,
    logFolder: join(options.stateFolder, "logs"),
    accelerator: acceleratorFor(host, kvmVerdictPath),
    agentTimeoutMs: options.agentTimeoutMs ?? 600_000,
  });
  const settings = { owner, kvmVerdictPath, networkFolder: passtFolder() };
  const dependencies: MachineDependencies = { host, prepared, settings };
  const channels = new Map<string, Duplex>();
  let sweep: Promise<unknown> | undefined;

  /** Once per process: what a predecessor left that died while preparing. */
  function sweepOnce(): Promise<unknown> {
    sweep ??= removeDeadPreparations(host, AbortSignal.timeout(60_000)).catch(() => undefined);
    return sweep;
  }

  async function status(id: string, signal: AbortSignal): Promise<MachineStatus> {
    const { domain, disk } = machineNames(id);
    const found = await host.domains.status(domain, signal);
    if (found === undefined) return { id, state: "absent" };
    if (found.state !== "off") return machineStatus(id, found);
    const storage = await host.storage(signal);
    return (await storage.has(disk, signal))
      ? { id, state: "stopped" }
      : { id, state: "failed", reason: `its disk is gone: ${storage.path(disk)}` };
  }

  return {
    name: "libvirt",
    description: "full virtual machines with their own kernel, by libvirt and QEMU",
    usesImages: true,

    async availability(signal) {
      try {
        const { warning } = await chooseAcceleration(host, hostArchitecture(), kvmVerdictPath, signal);
        return { available: true, reason: warning };
      } catch (error) {
        signal.throwIfAborted();
        const { message, hint, code } = toHeyvmError(error);
        return { available: false, reason: message, hint, code };
      }
    },
    diagnose: (signal) => diagnoseHost(host, kvmVerdictPath, options.imageFolders ?? [], signal),

    async create(spec, context) {
      await sweepOnce();
      return createMachine(dependencies, spec, context);
    },
    start: (spec, context) => startMachine(dependencies, spec, context),
    async stop(id, signal) {
      dropChannel(id);
      await stopMachine(dependencies, id, signal);
    },
    async destroy(id, signal) {
      dropChannel(id);
      await destroyMachine(dependencies, id, signal);
    },
    pause: (id, signal) => host.domains.suspend(machineNames(id).domain, signal),
    resume: (id, signal) => host.domains.resume(machineNames(id).domain, signal),

    status,
    async list(signal) {
      const ids = await ownMachines(host, owner, signal);
      return Promise.all(ids.map((id) => status(id, signal)));
    },
    async openChannel(id, signal) {
      dropChannel(id);
      const channel = await host.domains.openChannel(machineNames(id).domain, agentChannel, signal);
      channels.set(id, channel);
      channel.once("close", () => {
        if (channels.get(id) === channel) channels.delete(id);
      });
      return channel;
    },
    async readConsole(id, maxBytes, signal) {
      const storage = await host.storage(signal);
      return readConsoleLog(storage, host.isLocal, machineNames(id).consoleLog, maxBytes, signal);
    },
    watch(listener) {
      return host.domains.onChange((domain) => {
        const id = machineOfDomain(domain);
        if (id?.startsWith("sb-") !== true) return;
        // An event that cannot be looked into is made up for by the next look of whoever listens.
        status(id, AbortSignal.timeout(30_000)).then(listener, () => undefined);
      });
    },

    imagesInUse: (signal) => imagesInUse(host, signal),
    prune: (signal, options) => prune(dependencies, signal, options),
    async close() {
      for (const id of channels.keys()) dropChannel(id);
      await host.close();
    },
  };

  function dropChannel(id: string): void {
    channels.get(id)?.destroy();
    channels.delete(id);
  }
}

function machineStatus(id: string, { state, reason, code }: DomainStatus): MachineStatus {
  return { id, state: state === "off" ? "stopped" : state, reason, code };
}
