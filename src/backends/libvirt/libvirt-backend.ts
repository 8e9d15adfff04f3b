/** The libvirt backend: full virtual machines of cloud images, run by QEMU under libvirt's control. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";

import { timeoutSignal } from "../../core/deadline.ts";
import type {
  Forehanded,
  MemoryTeller,
  MountTeller,
  Pausable,
  Renamable,
  Resettable,
  TemplateKeeper,
} from "../abilities.ts";
import type { Backend, BackendDescription } from "../backend.ts";
import { toHeyvmError } from "../../errors/index.ts";
import { acceleratorFor, chooseAcceleration } from "./acceleration/acceleration.ts";
import { readConsoleLog } from "./domain/console-log.ts";
import { diagnoseHost } from "./doctor/diagnose.ts";
import type { LibvirtHost } from "./host.ts";
import { createMemoryLook } from "./machine/host-memory.ts";
import { hostArchitecture } from "./acceleration/kvm-check.ts";
import { endLooks } from "./acceleration/kvm-verdict.ts";
import { buildTemplate } from "./machine/cloning.ts";
import { createMachine, destroyMachine, startMachine, stopMachine } from "./machine/machine.ts";
import { checkHost, type MachineDependencies, machineSizeOf, titleOf } from "./machine/machine-definition.ts";
import { createTurns } from "./machine/turns.ts";
import { machineStatus } from "./machine/machine-status.ts";
import { mountedMachines } from "./machine/mounted-machines.ts";
import { agentChannel } from "../guest/guest-service.ts";
import { machineNames, machineOfDomain } from "./names.ts";
import { type Ownership, refuseForeignMachine } from "./machine/ownership.ts";
import { runtimeFolder } from "../../config/runtime-folder.ts";
import { createPreparedDisks } from "./preparation/prepared-disk.ts";
import { removeStaleSockets } from "./template/machine-state.ts";
import { createShells } from "./template/shells.ts";
import { createTemplates } from "./template/templates.ts";
import { createTemplateStore } from "./template/template-store.ts";
import { createTemplateTrust } from "./template/template-trust.ts";
import { createTemplateUse } from "./template/template-use.ts";
import { imagesInUse, ownMachines, prune, removeOrphans } from "./storage/prune.ts";

export interface LibvirtBackendOptions {
  /** `qemu:///session`, `qemu:///system`, `qemu+ssh://…`, `qemu+tcp://…` */
  uri: string;
  /** Whose the machines are. */
  ownership: Ownership;
  /** heyvm's state folder: the verdict on KVM and the logs of failed preparations are kept there. */
  stateFolder: string;
  /** Where images are looked for, for the doctor. */
  imageFolders?: readonly string[] | undefined;
  /** How long the agent may take to answer when a disk is prepared; default ten minutes. */
  agentTimeoutMs?: number | undefined;
  /** How much of the disk templates may take together; 0, the default: none are made, and every machine boots. */
  templateBudgetBytes?: number | undefined;
  /** How many launched machines wait for each template that is in use; 0, the default: none. */
  shellsPerTemplate?: number | undefined;
  /** QEMU's cache of translated code under emulation, per machine; absent: by the machine's memory. */
  translationCacheBytes?: number | undefined;
  /** The size that a sandbox gets unless told: already its first one is cloned. */
  usualShape?: { cpus: number; memoryBytes: number } | undefined;
}

export type LibvirtBackend = Backend &
  Pausable &
  Resettable &
  TemplateKeeper &
  Forehanded &
  Renamable &
  MountTeller &
  MemoryTeller;

export const libvirtDescription: BackendDescription = {
  name: "libvirt",
  description: "full virtual machines with their own kernel, by libvirt and QEMU",
  usesImages: true,
  takesUri: true,
};

/** The backend on a host that the caller has; see `createLibvirtBackend`. */
export function createBackendOn(host: LibvirtHost, options: LibvirtBackendOptions): LibvirtBackend {
  const kvmVerdictPath = join(options.stateFolder, "kvm.json");
  const cloningRefusalPath = join(options.stateFolder, "cloning.json");
  const budgetBytes = options.templateBudgetBytes ?? 0;
  const { owner } = options.ownership;
  const { translationCacheBytes } = options;
  const settings = {
    ...options.ownership,
    kvmVerdictPath,
    runtimeFolder: runtimeFolder(),
    translationCacheBytes,
  };
  const prepared = createPreparedDisks(host, {
    owner,
    runtimeFolder: settings.runtimeFolder,
    logFolder: join(options.stateFolder, "logs"),
    accelerator: acceleratorFor(host, settings),
    agentTimeoutMs: options.agentTimeoutMs ?? 600_000,
  });
  const use = createTemplateUse(join(options.stateFolder, "templates.json"));
  const shells = createShells(host, { owner, perTemplate: options.shellsPerTemplate ?? 0 });
  const templates = createTemplates(host, {
    owner,
    store: createTemplateStore(host, use, (key) => shells.drop(key)),
    use,
    trust: createTemplateTrust(join(options.stateFolder, "template-doubts.json")),
    logFolder: join(options.stateFolder, "logs"),
    runtimeFolder: settings.runtimeFolder,
    agentTimeoutMs: options.agentTimeoutMs ?? 600_000,
    cloningRefusalPath,
    usual: options.usualShape === undefined ? undefined : machineSizeOf(options.usualShape),
    budgetBytes,
  });
  const turns = createTurns(availableParallelism());
  const dependencies: MachineDependencies = { host, prepared, templates, shells, turns, settings };
  const channels = new Map<string, Duplex>();
  let sweep: Promise<unknown> | undefined;

  /** Once per process: what a predecessor left that died while preparing. */
  function sweepOnce(): Promise<unknown> {
    sweep ??= Promise.all([
      removeOrphans(host, settings, timeoutSignal(60_000)),
      removeStaleSockets(settings.runtimeFolder),
    ]).catch(() => undefined);
    return sweep;
  }

  const status: Backend["status"] = (id, signal) => machineStatus(host, settings, id, signal);

  async function ownDomain(id: string, signal: AbortSignal): Promise<string> {
    await refuseForeignMachine(host, settings, id, signal);
    return machineNames(id).domain;
  }

  return {
    ...libvirtDescription,

    async availability(signal) {
      try {
        const { warning } = await chooseAcceleration(host, hostArchitecture(), settings, signal);
        return { available: true, reason: warning };
      } catch (error) {
        signal.throwIfAborted();
        const { message, hint, code } = toHeyvmError(error);
        return { available: false, reason: message, hint, code };
      }
    },
    diagnose: (signal) =>
      diagnoseHost(
        host,
        {
          kvmVerdictPath,
          cloning:
            budgetBytes === 0
              ? undefined
              : { refusalPath: cloningRefusalPath, doubts: () => templates.doubts() },
        },
        options.imageFolders ?? [],
        signal,
      ),

    async create(spec, context) {
      await sweepOnce();
      return createMachine(dependencies, spec, context);
    },
    checkStart: (spec, signal) => checkHost(host, spec, signal),
    start: (spec, context) => startMachine(dependencies, spec, context),
    async stop(id, signal) {
      dropChannel(id);
      await stopMachine(dependencies, id, signal);
    },
    async destroy(id, signal) {
      dropChannel(id);
      await destroyMachine(dependencies, id, signal);
    },
    async reset(id, signal) {
      await host.domains.reset(await ownDomain(id, signal), signal);
    },
    async pause(id, signal) {
      await host.domains.suspend(await ownDomain(id, signal), signal);
    },
    async resume(id, signal) {
      await host.domains.resume(await ownDomain(id, signal), signal);
    },

    status,
    async list(signal) {
      await sweepOnce();
      const ids = await ownMachines(host, settings, signal);
      return Promise.all(ids.map((id) => status(id, signal)));
    },
    async openChannel(id, signal) {
      dropChannel(id);
      const channel = await host.domains.openChannel(await ownDomain(id, signal), agentChannel, signal);
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
      return host.domains.onChange((domain, how) => {
        const id = machineOfDomain(domain);
        if (id?.startsWith("sb-") !== true) return;
        // An event that cannot be looked into is made up for by the next look of whoever listens.
        status(id, timeoutSignal(30_000)).then(
          (now) => listener(how === undefined ? now : { ...now, rebooted: true }),
          () => undefined,
        );
      });
    },

    listTemplates: (signal) => templates.list(signal),
    buildTemplate: (request, context) => buildTemplate(dependencies, request, context),
    async removeTemplate(key, signal) {
      await shells.drop(key);
      return templates.remove(key, signal);
    },
    reserveId: (forthcoming) => shells.reserve(forthcoming),
    async rename(spec, signal) {
      await host.domains.setTitle(await ownDomain(spec.id, signal), titleOf(spec), signal);
    },
    hostMemory: createMemoryLook(host),
    mountedMachines: (known, signal) => mountedMachines(host, settings, known, signal),

    imagesInUse: (signal) => imagesInUse(host, signal),
    async prune(signal, options) {
      if (options.everything) await shells.drop();
      return prune(dependencies, signal, options);
    },
    async close() {
      await Promise.all([shells.close(), templates.close(), endLooks()]);
      for (const id of channels.keys()) dropChannel(id);
      await host.close();
    },
  };

  function dropChannel(id: string): void {
    channels.get(id)?.destroy();
    channels.delete(id);
  }
}
