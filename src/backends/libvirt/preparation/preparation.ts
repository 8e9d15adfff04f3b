/** One preparation: boots an image with a seed, lets the agent finish the set-up, and powers the guest off. */
import { timeoutSignal } from "../../../core/deadline.ts";
import { inStep, type Step } from "../../../core/step.ts";
import type { AgentSession } from "../../../agent/types.ts";
import type { Image } from "../../../images/image.ts";
import type { SandboxType } from "../../../config/machine-kinds.ts";
import { bootGuest, explainGuestFailure, type GuestBootOptions } from "./guest-boot.ts";
import { domainEnd } from "../domain/domain-end.ts";
import type { NetworkShape } from "../domain/domain-devices.ts";
import type { PreparationMetadata } from "../domain/domain-metadata.ts";
import { type Accelerator, buildDomainXml } from "../domain/domain-xml.ts";
import type { GuestFile } from "../../guest/guest-files.ts";
import { installRuntimeScript, networkScript, settleScript } from "../../guest/guest-scripts.ts";
import { runInGuest } from "./guest-command.ts";
import { providedTypes } from "./provided-types.ts";
import type { Backing, LibvirtHost } from "../host.ts";
import { machineNames, type MachineNames, uuidFor } from "../names.ts";
import { closeNetwork, openNetwork } from "../network/network.ts";
import { makeSeedIso, seedFiles } from "./seed.ts";

export interface PreparationOptions extends GuestBootOptions {
  /** Whose machines they are: see `DomainMetadata`. */
  owner: string;
  /** For passt's sockets. */
  runtimeFolder: string;
  accelerator: (image: Image, signal: AbortSignal) => Promise<Accelerator>;
}

export interface Preparation {
  image: Image;
  /** The image's file, where QEMU can read it. */
  source: Backing;
  type: SandboxType;
  files: readonly GuestFile[];
  /** The volume that becomes the prepared disk. */
  disk: string;
  metadata: PreparationMetadata;
  onStep: (step: Step) => void;
}

/** cloud-init's own work, package installs and the clean-up, together. */
const setupTimeoutMs = 20 * 60_000;
const memoryBytes = 1024 ** 3;

/**
 * Makes the disk and has it published, with the types that turned out to work on it; leaves nothing else, however it
 * ends. A failure's console log goes to the log folder. `publish` runs while the domain is still there, which protects the disk from being pruned until then.
 */
export async function prepareGuest<T>(
  host: LibvirtHost,
  preparation: Preparation,
  options: PreparationOptions,
  publish: (provides: readonly SandboxType[]) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const { image, source, type, files, disk, metadata, onStep } = preparation;
  const storage = await host.storage(signal);
  const names = machineNames(metadata.id);
  const accelerator = await options.accelerator(image, signal);
  const define = (network: NetworkShape) =>
    host.domains.define(
      buildDomainXml({
        name: names.domain,
        uuid: uuidFor(metadata.id),
        title: `heyvm: preparing an image for ${type}`,
        metadata,
        architecture: image.architecture,
        accelerator,
        vcpus: 1,
        memoryBytes,
        disks: [
          { path: storage.path(disk), format: "qcow2", readOnly: false },
          { path: storage.path(names.seed), format: "raw", readOnly: true },
        ],
        mounts: [],
        network,
        consoleLogPath: storage.path(names.consoleLog),
      }),
      signal,
    );
  const what = `preparing ${image.reference} for ${type}`;
  try {
    // The domain first: it tells everyone whose the volumes are, should we die now.
    await define({ kind: "none" });
    const seed = await makeSeedIso(seedFiles(metadata.id, files), signal);
    await storage.createFile(names.seed, seed.length, chunks(seed), signal);
    await storage.createOverlay(disk, source, image.virtualSizeBytes, signal);
    let provides = await bootOnce(host, names, options, signal, async (agent, alive) => {
      await runInGuest(agent, "cloud-init status --wait || [ $? -eq 2 ]", setupTimeoutMs, alive);
      await runInGuest(agent, networkScript, 120_000, alive);
      const provided = await providedTypes(agent, alive);
      if (provided.includes(type)) await runInGuest(agent, settleScript, 300_000, alive);
      return provided;
    });
    if (!provides.includes(type) && type !== "shell") {
      // Only now, and only for this, with a network.
      const network = await openNetwork(host, options.runtimeFolder, metadata.id, signal);
      await define(network.shape);
      const title = [`Installing what ${type} needs`, ...network.warnings].join("; meanwhile ");
      provides = await inStep({ signal, onStep }, { id: "prepare-install", title }, () =>
        bootOnce(host, names, options, signal, async (agent, alive) => {
          await runInGuest(agent, installRuntimeScript(type), setupTimeoutMs, alive);
          const provided = await providedTypes(agent, alive, { required: type });
          await runInGuest(agent, settleScript, 300_000, alive);
          return provided;
        }),
      );
    }
    return await publish(provides);
  } catch (error) {
    throw await explainGuestFailure(host, names.consoleLog, metadata.key, what, options, error, signal);
  } finally {
    const cleanup = timeoutSignal(60_000);
    await closeNetwork(options.runtimeFolder, metadata.id).catch(() => undefined);
    await host.domains.remove(names.domain, cleanup).catch(() => undefined);
    await storage.remove(names.seed, cleanup).catch(() => undefined);
    await storage.remove(names.consoleLog, cleanup).catch(() => undefined);
  }
}

/** Works with the guest's agent, then powers the guest off and waits until it is. */
async function bootOnce<T>(
  host: LibvirtHost,
  names: MachineNames,
  options: PreparationOptions,
  signal: AbortSignal,
  work: (agent: AgentSession, alive: AbortSignal) => Promise<T>,
): Promise<T> {
  await using end = domainEnd(host.domains, names.domain);
  const result = await bootGuest(host, names, options, end, signal, async (agent, alive) => {
    const result = await work(agent, alive);
    await agent.sync({ signal: alive, timeoutMs: 120_000 });
    // A guest that is off before it could answer is off.
    await agent.powerOff({ signal: alive, timeoutMs: 60_000 }).catch((error: unknown) => {
      if (!end.signal.aborted) throw error;
    });
    return result;
  });
  await end.wait(180_000, signal);
  return result;
}

async function* chunks(content: Buffer): AsyncGenerator<Uint8Array> {
  yield content;
}
