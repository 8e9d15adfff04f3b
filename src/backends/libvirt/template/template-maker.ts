/** Finds a template or makes it: once, however many want it, and only where there is room for it. */
import { statfs } from "node:fs/promises";
import { z } from "zod";

import { timeoutSignal } from "../../../core/deadline.ts";
import type { Step, WorkContext } from "../../../core/step.ts";
import { LockHolderSilentError, lockForProcess } from "../../../core/process-lock.ts";
import { openRuntimeFolder } from "../../../config/runtime-folder.ts";
import { createSharedWork } from "../../../core/shared-work.ts";
import { formatSize } from "../../../config/size.ts";
import { AbortedError, firstLine, HeyvmError, toHeyvmError } from "../../../errors/index.ts";
import type { Image } from "../../../images/image.ts";
import type { SandboxType } from "../../../config/machine-kinds.ts";
import type { LibvirtHost } from "../host.ts";
import { newBuild } from "../names.ts";
import { ownPreparation } from "../process-mark.ts";
import { makeTemplate, type TemplateOptions } from "./make-template.ts";
import { CloningRefusedError, rememberRefusal } from "./obstacle.ts";
import type { MachineShape } from "./template-key.ts";
import type { ReadyTemplate, TemplateStore } from "./template-store.ts";
import type { TemplateTrust } from "./template-trust.ts";

/** What decides which template a machine is a clone of. */
export interface WayRequest {
  image: Image;
  type: SandboxType;
  preparedDisk: string;
  shape: MachineShape;
}

export interface TemplateMakerOptions extends TemplateOptions {
  owner: string;
  store: TemplateStore;
  trust: TemplateTrust;
  /** Where is remembered that QEMU cannot do what cloning needs. */
  cloningRefusalPath: string;
  /** All templates together, in bytes of disk. */
  budgetBytes: number;
  /** `makeTemplate`, except in tests. */
  freeze?: typeof makeTemplate | undefined;
  /** How much room a folder's disk has, except in tests. */
  freeBytes?: ((folder: string) => Promise<number>) | undefined;
}

export interface TemplateMaker {
  /** On failure machines of the key are doubted. */
  openOrMake(request: WayRequest, key: string, context: WorkContext): Promise<ReadyTemplate>;
  /** Builds that are under way in this process. */
  readonly building: ReadonlySet<string>;
}

/** Making it could fill the disk, under the feet of all that runs here. */
export class NoRoomForTemplateError extends HeyvmError {
  constructor(neededBytes: number, freeBytes: number, folder: string) {
    const sizes = `${formatSize(neededBytes)}, and the disk of ${folder} has ${formatSize(freeBytes)} free`;
    super("disk_full", `a template may take ${sizes}`, {
      hint: "make room: heyvm prune removes what no sandbox needs",
      details: { path: folder },
    });
  }
}

/** What another process tells of its work. */
const stepSchema = z.object({
  id: z.string(),
  title: z.string(),
  state: z.enum(["started", "progress", "done"]),
  logPath: z.string().optional(),
});

/** For what the guest writes while its template is made, and for those whose sandboxes run. */
const roomBesideMemoryBytes = 512 * 1024 ** 2;

export function createTemplateMaker(host: LibvirtHost, options: TemplateMakerOptions): TemplateMaker {
  const { store, trust, freeze = makeTemplate, freeBytes = freeBytesOf } = options;
  const shared = createSharedWork<ReadyTemplate, Step>("the template");
  const building = new Set<string>();
  /** What those that are under way here may still take. */
  let promisedBytes = 0;

  /** Looked at each time: others fill and empty the disk, too. */
  async function checkRoom(neededBytes: number, signal: AbortSignal): Promise<void> {
    const { folder } = await host.storage(signal);
    const free = (await freeBytes(folder)) - promisedBytes;
    if (free < neededBytes) throw new NoRoomForTemplateError(neededBytes, Math.max(0, free), folder);
  }

  async function make(request: WayRequest, key: string, context: WorkContext): Promise<ReadyTemplate> {
    const { signal, onStep } = context;
    const neededBytes = request.shape.memoryBytes + roomBesideMemoryBytes;
    await checkRoom(neededBytes, signal);
    const build = newBuild();
    building.add(build);
    promisedBytes += neededBytes;
    try {
      const metadata = await ownPreparation({ owner: options.owner, key, build });
      await freeze(host, { ...request, metadata }, options, onStep, signal);
    } finally {
      building.delete(build);
      promisedBytes -= neededBytes;
    }
    // What could not be removed now is looked at again with the next template.
    await store.keepWithin(options.budgetBytes, key, signal).catch(() => undefined);
    const made = await store.open(key, signal);
    if (made !== undefined) return made;
    throw new Error("it was removed or damaged as soon as it was made");
  }

  /** Once for all processes of this user; those that wait are told how far it is. */
  async function openOrMakeAlone(
    request: WayRequest,
    key: string,
    { signal, onStep }: WorkContext,
  ): Promise<ReadyTemplate> {
    await openRuntimeFolder(options.runtimeFolder);
    const { lock } = await lockForProcess({
      folder: options.runtimeFolder,
      name: `template ${key}`,
      what: `the template of ${request.image.reference}`,
      signal,
      onState(state) {
        const step = stepSchema.safeParse(state);
        if (step.success) onStep(step.data);
      },
    });
    await using _lock = lock;
    const tell = (step: Step): void => {
      lock.tell(step);
      onStep(step);
    };
    return (await store.open(key, signal)) ?? (await make(request, key, { signal, onStep: tell }));
  }

  /** Once for all who wait for it. A full disk and a libvirt that is away say nothing of the template. */
  async function remember(error: unknown, { image, type, shape }: WayRequest, key: string): Promise<void> {
    if (error instanceof LockHolderSilentError) return;
    if (["disk_full", "backend_unavailable"].includes(toHeyvmError(error).code)) return;
    await trust.doubtFrom(key, kindOf(image.reference, type, shape), reasonOf(error));
    if (!(error instanceof CloningRefusedError)) return;
    const signal = timeoutSignal(rememberTimeoutMs);
    await rememberRefusal(host, shape.architecture, options.cloningRefusalPath, error, signal);
  }

  return {
    building,
    async openOrMake(request, key, { signal, onStep }) {
      try {
        return (
          (await store.open(key, signal)) ??
          (await shared.run(key, { signal, onNews: onStep }, async (signal, onStep) => {
            try {
              return await openOrMakeAlone(request, key, { signal, onStep });
            } catch (error) {
              // Why it failed matters more than that this cannot be written down.
              if (!signal.aborted) await remember(error, request, key).catch(() => undefined);
              throw error;
            }
          }))
        );
      } catch (error) {
        if (signal.aborted) throw new AbortedError("making a template", error);
        throw error;
      }
    },
  };
}

const rememberTimeoutMs = 30_000;

/** Why a machine boots whose template could not be had. */
export function reasonOf(error: unknown): string {
  return `there is no template: ${firstLine(error)}`;
}

/** For people: `debian:12 for python, 1 CPU, 1 GiB`. */
export function kindOf(
  reference: string,
  type: SandboxType,
  { vcpus, memoryBytes, room }: Pick<MachineShape, "vcpus" | "memoryBytes" | "room">,
): string {
  const size = `${vcpus} ${vcpus === 1 ? "CPU" : "CPUs"}, ${formatSize(memoryBytes)}`;
  return `${reference} for ${type}, ${room === undefined ? size : `larger than ${size}`}`;
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
