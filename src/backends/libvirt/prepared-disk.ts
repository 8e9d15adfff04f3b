/** Prepared disks: an image with the agent and a type's runtime, made once per image, type and recipe. */
import { createHash } from "node:crypto";

import type { Image } from "../../images/image.ts";
import type { MachineContext, SandboxType } from "../backend.ts";
import { type GuestFile, guestFiles } from "./guest-files.ts";
import { installRuntimeScript, networkScript, probeScripts, settleScript } from "./guest-scripts.ts";
import type { LibvirtHost } from "./host.ts";
import { ensureImageSource } from "./image-source.ts";
import { machineNames, newBuild, sharedDiskName, shortHash } from "./names.ts";
import { type PreparationOptions, prepareGuest } from "./preparation.ts";
import { markOfThisProcess } from "./process-mark.ts";
import { createSharedWork } from "./shared-work.ts";
import { findSharedDisk, publishSharedDisk } from "./shared-disk.ts";

export interface PreparedDisks {
  /** The volume of the prepared disk; made now if there is none. */
  ensure(image: Image, type: SandboxType, context: MachineContext): Promise<string>;
  /** Builds that are under way in this process. */
  readonly building: ReadonlySet<string>;
}

export function createPreparedDisks(host: LibvirtHost, options: PreparationOptions): PreparedDisks {
  const shared = createSharedWork<string>();
  const building = new Set<string>();

  async function prepare(
    image: Image,
    type: SandboxType,
    files: GuestFile[],
    key: string,
    context: MachineContext,
  ) {
    const { signal, onStep } = context;
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
      const metadata = {
        kind: "preparation" as const,
        id: `preparing-${build}`,
        owner: options.owner,
        key,
        build,
        maker: await markOfThisProcess(),
      };
      const { fingerprint, reference } = image;
      const published = await prepareGuest(
        host,
        { image, source, type, files, disk, metadata },
        options,
        () => {
          const finished = { disk, fingerprint, reference, createdAt: new Date().toISOString() };
          return publishSharedDisk(storage, "prepared", key, finished, signal);
        },
        signal,
      );
      onStep({ ...step, state: "done" });
      return published.disk;
    } catch (error) {
      await storage.remove(disk, AbortSignal.timeout(30_000)).catch(() => undefined);
      throw error;
    } finally {
      building.delete(build);
    }
  }

  return {
    building,
    async ensure(image, type, context) {
      const files = await guestFiles();
      const key = preparationKey(image, type, files);
      return shared.run(key, context, async (context) => {
        const storage = await host.storage(context.signal);
        const existing = await findSharedDisk(storage, "prepared", key, context.signal);
        if (existing !== undefined && (await storage.has(existing.disk, context.signal))) {
          return existing.disk;
        }
        return prepare(image, type, files, key, context);
      });
    },
  };
}

/** Changes with all that goes into a prepared disk. */
function preparationKey(image: Image, type: SandboxType, files: readonly GuestFile[]): string {
  const recipe = createHash("sha256");
  for (const { path, mode, content } of files) recipe.update(JSON.stringify([path, mode, content]));
  recipe.update(probeScripts[type]).update(networkScript).update(settleScript);
  if (type !== "shell") recipe.update(installRuntimeScript(type));
  return shortHash(JSON.stringify([image.fingerprint, type, recipe.digest("hex")]));
}
