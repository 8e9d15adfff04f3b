/**
 * Prepared disks: an image with the agent and a type's runtime, made once per image, type and recipe. Many images have
 * several types' runtimes: a disk that was prepared for one type serves the others that work on it.
 */
import { createHash } from "node:crypto";

import { timeoutSignal } from "../../../core/deadline.ts";
import type { Step, WorkContext } from "../../../core/step.ts";
import { createSharedWork } from "../../../core/shared-work.ts";
import type { Image } from "../../../images/image.ts";
import { type SandboxType, sandboxTypes } from "../../../config/machine-kinds.ts";
import { type GuestFile, guestFiles } from "../../guest/guest-files.ts";
import {
  installRuntimeScript,
  networkScript,
  probeScripts,
  settleScript,
} from "../../guest/guest-scripts.ts";
import type { LibvirtHost } from "../host.ts";
import { ensureImageSource } from "./image-source.ts";
import { machineNames, newBuild, sharedDiskName, shortHash } from "../names.ts";
import { type PreparationOptions, prepareGuest } from "./preparation.ts";
import { ownPreparation } from "../process-mark.ts";
import { findSharedDisk, publishSharedDisk } from "../storage/shared-disk.ts";
import { createKeyedLock } from "../../../core/lock.ts";

export interface PreparedDisks {
  /** The volume of a prepared disk that the type works on; made now if there is none. */
  ensure(image: Image, type: SandboxType, context: WorkContext): Promise<string>;
  /** Builds that are under way in this process. */
  readonly building: ReadonlySet<string>;
}

/** `makeGuest` is `prepareGuest`, except in tests. */
export function createPreparedDisks(
  host: LibvirtHost,
  options: PreparationOptions,
  makeGuest: typeof prepareGuest = prepareGuest,
): PreparedDisks {
  const shared = createSharedWork<string, Step>("the preparation");
  /** An image is prepared for one type at a time: what comes out may do for the next. */
  const turns = createKeyedLock();
  const building = new Set<string>();

  async function prepare(image: Image, type: SandboxType, files: GuestFile[], context: WorkContext) {
    const { signal, onStep } = context;
    const key = preparedDiskKey(image, files, type);
    const storage = await host.storage(signal);
    const source = await ensureImageSource(host, image, context);
    const build = newBuild();
    const disk = sharedDiskName("prepared", key, build);
    const names = machineNames(`preparing-${build}`);
    const step = {
      id: "prepare",
      title: `Preparing ${image.reference} for ${type} (once)`,
      logPath: storage.path(names.consoleLog),
    };
    onStep({ ...step, state: "started" });
    building.add(build);
    try {
      const metadata = await ownPreparation({ owner: options.owner, key, build });
      const { fingerprint, reference } = image;
      const published = await makeGuest(
        host,
        { image, source, type, files, disk, metadata, onStep },
        options,
        (types) => {
          const provides = [...types];
          const finished = { disk, fingerprint, reference, createdAt: new Date().toISOString(), provides };
          return publishSharedDisk(storage, "prepared", key, finished, signal);
        },
        signal,
      );
      onStep({ ...step, state: "done" });
      return published.disk;
    } catch (error) {
      await storage.remove(disk, timeoutSignal(30_000)).catch(() => undefined);
      throw error;
    } finally {
      building.delete(build);
    }
  }

  /** A finished disk that the type works on; its own first. */
  async function find(image: Image, files: readonly GuestFile[], type: SandboxType, signal: AbortSignal) {
    const storage = await host.storage(signal);
    for (const preparedFor of [type, ...sandboxTypes.filter((other) => other !== type)]) {
      const key = preparedDiskKey(image, files, preparedFor);
      const existing = await findSharedDisk(storage, "prepared", key, signal);
      if (existing?.provides?.includes(type) !== true) continue;
      if (await storage.has(existing.disk, signal)) return existing.disk;
    }
    return undefined;
  }

  return {
    building,
    async ensure(image, type, context) {
      const files = guestFiles();
      const caller = { signal: context.signal, onNews: context.onStep };
      return shared.run(preparedDiskKey(image, files, type), caller, async (signal, onStep) => {
        const existing = await find(image, files, type, signal);
        if (existing !== undefined) return existing;
        const what = `preparing ${image.reference} for ${type}`;
        const step = { id: "prepare-turn", title: `Waiting for another preparation of ${image.reference}` };
        const waits = turns.isTaken(image.fingerprint);
        if (waits) onStep({ ...step, state: "started" });
        const work = async (): Promise<string> => {
          if (waits) onStep({ ...step, state: "done" });
          return (
            (await find(image, files, type, signal)) ??
            (await prepare(image, type, files, { signal, onStep }))
          );
        };
        return await turns.run(image.fingerprint, what, work, signal);
      });
    },
  };
}

/** Changes with all that goes into a prepared disk. */
export function preparedDiskKey(
  image: Pick<Image, "fingerprint">,
  files: readonly GuestFile[],
  type: SandboxType,
): string {
  const recipe = createHash("sha256");
  for (const { path, mode, content } of files) recipe.update(JSON.stringify([path, mode, content]));
  recipe.update(JSON.stringify([probeScripts, networkScript, settleScript]));
  if (type !== "shell") recipe.update(installRuntimeScript(type));
  return shortHash(JSON.stringify([image.fingerprint, type, recipe.digest("hex")]));
}
