/** One preparation: boots an image with a seed, lets the agent finish the set-up, and powers the guest off. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { connectAgent } from "../../agent/index.ts";
import type { AgentSession } from "../../agent/types.ts";
import { AbortedError, HeyvmError } from "../../errors/index.ts";
import type { Image } from "../../images/image.ts";
import type { SandboxType } from "../backend.ts";
import { lastLines, readConsoleLog } from "./console-log.ts";
import { domainEnd } from "./domain-end.ts";
import type { NetworkShape } from "./domain-devices.ts";
import type { PreparationMetadata } from "./domain-metadata.ts";
import { type Accelerator, buildDomainXml } from "./domain-xml.ts";
import { AgentNeverAnsweredError, PreparationFailedError } from "./errors.ts";
import type { GuestFile } from "./guest-files.ts";
import { installRuntimeScript, networkScript, settleScript } from "./guest-scripts.ts";
import { runInGuest } from "./guest-command.ts";
import { providedTypes } from "./provided-types.ts";
import type { Backing, LibvirtHost } from "./host.ts";
import { agentChannel, macAddressFor, machineNames, uuidFor } from "./names.ts";
import { makeSeedIso, seedFiles } from "./seed.ts";

export interface PreparationOptions {
  /** Whose machines they are: see `DomainMetadata`. */
  owner: string;
  /** Where the console's log of a failed preparation is kept. */
  logFolder: string;
  accelerator: (image: Image, signal: AbortSignal) => Promise<Accelerator>;
  /** How long the agent may take to answer in the first boot; under emulation that is a minute. */
  agentTimeoutMs: number;
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
  const { image, source, type, files, disk, metadata } = preparation;
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
    let provides = await boot(host, names.domain, options, signal, async (agent, alive) => {
      await runInGuest(agent, "cloud-init status --wait || [ $? -eq 2 ]", setupTimeoutMs, alive);
      await runInGuest(agent, networkScript, 120_000, alive);
      const provided = await providedTypes(agent, alive);
      if (provided.includes(type)) await runInGuest(agent, settleScript, 300_000, alive);
      return provided;
    });
    if (!provides.includes(type) && type !== "shell") {
      // Only now, and only for this, with a network.
      await define({ kind: "slirp", macAddress: macAddressFor(metadata.id) });
      provides = await boot(host, names.domain, options, signal, async (agent, alive) => {
        await runInGuest(agent, installRuntimeScript(type), setupTimeoutMs, alive);
        const provided = await providedTypes(agent, alive, { required: type });
        await runInGuest(agent, settleScript, 300_000, alive);
        return provided;
      });
    }
    return await publish(provides);
  } catch (error) {
    if (signal.aborted) throw new AbortedError(what, error);
    const log = await readConsoleLog(
      storage,
      host.isLocal,
      names.consoleLog,
      65_536,
      AbortSignal.timeout(10_000),
    ).catch(() => Buffer.alloc(0));
    const logPath = await keepLog(options.logFolder, metadata.key, log);
    if (error instanceof AgentSilentError) {
      throw new AgentNeverAnsweredError(
        what,
        options.agentTimeoutMs,
        logPath,
        lastLines(log, 12),
        error.cause,
      );
    }
    if (error instanceof HeyvmError && error.code === "disk_full") throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new PreparationFailedError(what, why, logPath, lastLines(log, 12), error);
  } finally {
    const cleanup = AbortSignal.timeout(60_000);
    await host.domains.remove(names.domain, cleanup).catch(() => undefined);
    await storage.remove(names.seed, cleanup).catch(() => undefined);
    await storage.remove(names.consoleLog, cleanup).catch(() => undefined);
  }
}

class AgentSilentError extends Error {}

/** Starts the domain, works with its agent, powers the guest off and waits until it is. */
async function boot<T>(
  host: LibvirtHost,
  domain: string,
  options: PreparationOptions,
  signal: AbortSignal,
  work: (agent: AgentSession, alive: AbortSignal) => Promise<T>,
): Promise<T> {
  await using end = domainEnd(host.domains, domain);
  await host.domains.start(domain, signal);
  // A guest that powers itself off or crashes will not answer any more.
  const alive = AbortSignal.any([signal, end.signal]);
  let agent: AgentSession;
  try {
    agent = await connectAgent((signal) => host.domains.openChannel(domain, agentChannel, signal), {
      signal: alive,
      timeoutMs: options.agentTimeoutMs,
    });
  } catch (error) {
    if (end.signal.aborted) throw end.signal.reason;
    throw new AgentSilentError("no answer", { cause: error });
  }
  let result: T;
  try {
    result = await work(agent, alive);
    await agent.sync({ signal: alive, timeoutMs: 120_000 });
    // A guest that is off before it could answer is off.
    await agent.powerOff({ signal: alive, timeoutMs: 60_000 }).catch((error: unknown) => {
      if (!end.signal.aborted) throw error;
    });
  } catch (error) {
    throw end.signal.aborted ? end.signal.reason : error;
  } finally {
    await agent.close();
  }
  await end.wait(180_000, signal);
  return result;
}

async function* chunks(content: Buffer): AsyncGenerator<Uint8Array> {
  yield content;
}

async function keepLog(folder: string, key: string, log: Buffer): Promise<string> {
  const path = join(folder, `preparing-${key}.log`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(path, log, { mode: 0o600 });
  return path;
}
