/**
 * Templates: machines that were booted once and frozen, of which sandboxes are clones. One for each prepared disk and
 * machine shape, made when it is first worth it.
 */
import { createSharedWork } from "../../../config/shared-work.ts";
import { AbortedError, messageOf, toHeyvmError } from "../../../errors/index.ts";
import type { Architecture, Image } from "../../../images/image.ts";
import type { MachineContext, MachineStep, SandboxType } from "../../backend.ts";
import type { LibvirtHost } from "../host.ts";
import { newBuild } from "../names.ts";
import { markOfThisProcess } from "../process-mark.ts";
import { type Growth, growableShape, growthTo } from "./growth.ts";
import { makeTemplate, type TemplateOptions } from "./make-template.ts";
import { CloningRefusedError, obstacleToCloning, rememberRefusal, templatesAreOff } from "./obstacle.ts";
import type { Template } from "./template-files.ts";
import { type MachineShape, templateKey } from "./template-key.ts";
import type { ReadyTemplate, TemplateStore } from "./template-store.ts";
import type { TemplateUse } from "./template-use.ts";

/** How a machine comes up: as a clone, or by booting, with the reason where there is one worth telling. */
export type Way = CloneWay | { template: undefined; reason: string };

export interface CloneWay extends ReadyTemplate {
  /** The template's. */
  shape: MachineShape;
  /** What the machine is larger by than its template. */
  growth: Growth | undefined;
}

export interface WayRequest {
  image: Image;
  type: SandboxType;
  preparedDisk: string;
  shape: MachineShape;
}

export interface Templates extends Pick<TemplateStore, "list" | "remove"> {
  /** Why machines of this architecture boot, whatever else is asked for; `undefined` where they can be cloned. */
  obstacle(architecture: Architecture, signal: AbortSignal): Promise<string | undefined>;
  /** For a host without an obstacle. `now`: makes the template even when its shape was not asked for before, or could not be had a while ago. */
  wayFor(request: WayRequest, context: MachineContext, options?: { now?: boolean }): Promise<Way>;
  /**
   * A clone did not start. A damaged template is removed, so that the next sandbox gets a new one; without damage,
   * machines of its kind boot for a while.
   */
  reportFailure(template: Template, reason: string): Promise<void>;
  /** Builds that are under way in this process. */
  readonly building: ReadonlySet<string>;
  /** Ends what is made for later. */
  close(): Promise<void>;
}

export interface TemplatesOptions extends TemplateOptions {
  owner: string;
  store: TemplateStore;
  use: TemplateUse;
  /** Where is remembered that QEMU cannot do what cloning needs. */
  cloningRefusalPath: string;
  /** The size that most sandboxes have; larger ones grow out of a template of this memory. */
  usual: Pick<MachineShape, "vcpus" | "memoryBytes"> | undefined;
  /** All templates together, in bytes of disk; 0 for none at all. */
  budgetBytes: number;
}

/** A size that no clone can grow to gets a template when it is asked for so often. */
const worthFrom = 2;
/** A size that clones grow to is worth a template, which saves them that, when it is asked for so often. */
const oftenFrom = 5;
/** How long machines boot after their template could not be made or used, before that is tried again. */
const giveUpMs = 30 * 60_000;

/** `freeze` is `makeTemplate`, except in tests. */
export function createTemplates(
  host: LibvirtHost,
  options: TemplatesOptions,
  freeze: typeof makeTemplate = makeTemplate,
): Templates {
  const { store } = options;
  const shared = createSharedWork<ReadyTemplate, MachineStep>("the template");
  const building = new Set<string>();
  /** Keys of templates that could not be made or used a short time ago. */
  const givenUp = new Map<string, { reason: string; untilMs: number }>();
  const closing = new AbortController();
  let behind: Promise<void> | undefined;
  /** What is made behind. */
  let behindKey: string | undefined;

  function isUsual({ vcpus, memoryBytes }: MachineShape): boolean {
    return vcpus === options.usual?.vcpus && memoryBytes === options.usual.memoryBytes;
  }

  function giveUp(key: string, reason: string): void {
    givenUp.set(key, { reason, untilMs: performance.now() + giveUpMs });
  }

  function gaveUpFor(key: string): string | undefined {
    const found = givenUp.get(key);
    if (found !== undefined && found.untilMs > performance.now()) return found.reason;
    givenUp.delete(key);
    return undefined;
  }

  async function make(request: WayRequest, key: string, context: MachineContext): Promise<ReadyTemplate> {
    const { signal, onStep } = context;
    const build = newBuild();
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
      await freeze(host, { ...request, metadata }, options, onStep, signal);
    } finally {
      building.delete(build);
    }
    // What could not be removed now is looked at again with the next template.
    await store.keepWithin(options.budgetBytes, key, signal).catch(() => undefined);
    const made = await store.open(key, signal);
    if (made !== undefined) return made;
    throw new Error("it was removed or damaged as soon as it was made");
  }

  async function openOrMake(request: WayRequest, key: string, context: MachineContext): Promise<CloneWay> {
    try {
      const ready =
        (await store.open(key, context.signal)) ??
        (await shared.run(key, { signal: context.signal, onNews: context.onStep }, async (signal, onStep) => {
          return (await store.open(key, signal)) ?? (await make(request, key, { signal, onStep }));
        }));
      return { ...ready, shape: request.shape, growth: undefined };
    } catch (error) {
      if (context.signal.aborted) throw new AbortedError("making a template", error);
      if (error instanceof CloningRefusedError) {
        const { architecture } = request.shape;
        await rememberRefusal(host, architecture, options.cloningRefusalPath, error, context.signal);
      }
      throw error;
    }
  }

  /** What `work` answers; where that fails, machines of the key boot for a while. */
  async function orBoot(key: string, signal: AbortSignal, work: () => Promise<Way>): Promise<Way> {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted) throw error;
      const { code } = toHeyvmError(error);
      // A full disk or a guest that does not start is no better for a machine that boots.
      if (code === "disk_full" || code === "guest_unresponsive") throw error;
      const reason = `no template could be made: ${messageOf(error)}`;
      giveUp(key, reason);
      return { template: undefined, reason };
    }
  }

  /**
   * Nobody waits for the template of a size that may never be asked for again. Whoever asks while it is made does: that
   * takes less than another boot beside it.
   */
  async function wayOfOtherSize(request: WayRequest, key: string, context: MachineContext): Promise<Way> {
    const { signal } = context;
    const asked = await options.use.ask(key);
    const own = await store.open(key, signal);
    if (own !== undefined) return { ...own, shape: request.shape, growth: undefined };
    const growable = growableShape(options.usual, request.shape);
    const growableKey = growable === undefined ? undefined : await keyOf(request, growable, signal);
    if (growable === undefined || growableKey === undefined || gaveUpFor(growableKey) !== undefined) {
      const failure = gaveUpFor(key);
      if (failure !== undefined) return { template: undefined, reason: failure };
      if (behindKey === key) return openOrMake(request, key, context);
      if (asked >= worthFrom) makeBehind(request, key);
      const reason = asked >= worthFrom ? "its template is being made" : "no sandbox had this size before";
      return { template: undefined, reason };
    }
    const base = { ...request, shape: growable };
    await options.use.ask(growableKey);
    const ready =
      (await store.open(growableKey, signal)) ??
      (behindKey === growableKey ? await openOrMake(base, growableKey, context) : undefined);
    if (ready === undefined) {
      makeBehind(base, growableKey);
      return { template: undefined, reason: "the template of larger sandboxes is being made" };
    }
    if (asked >= oftenFrom) makeBehind(request, key);
    const { template, state } = ready;
    return { template, state, shape: growable, growth: growthTo(growable, request.shape) };
  }

  /** One at a time: whoever uses the host now matters more. */
  function makeBehind(request: WayRequest, key: string): void {
    const { signal } = closing;
    if (signal.aborted || behindKey !== undefined || gaveUpFor(key) !== undefined) return;
    behindKey = key;
    behind = openOrMake(request, key, { signal, onStep: () => undefined })
      .then(
        () => undefined,
        (error: unknown) => giveUp(key, `no template could be made: ${messageOf(error)}`),
      )
      .finally(() => (behindKey = undefined));
  }

  function keyOf(request: WayRequest, shape: MachineShape, signal: AbortSignal): Promise<string> {
    return templateKey(host, request.preparedDisk, shape, signal);
  }

  return {
    building,
    list: (signal) => store.list(signal),
    remove: (key, signal) => store.remove(key, signal),

    async obstacle(architecture, signal) {
      if (options.budgetBytes === 0) return templatesAreOff;
      return obstacleToCloning(host, architecture, options.cloningRefusalPath, signal);
    },

    async wayFor(request, context, { now = false } = {}) {
      const { signal } = context;
      const key = await keyOf(request, request.shape, signal);
      if (now) return openOrMake(request, key, context);
      return orBoot(key, signal, async () => {
        if (!isUsual(request.shape)) return wayOfOtherSize(request, key, context);
        await options.use.ask(key);
        const failure = gaveUpFor(key);
        if (failure !== undefined) return { template: undefined, reason: failure };
        return openOrMake(request, key, context);
      });
    },

    async close() {
      closing.abort();
      await behind;
      await options.use.saved();
    },

    async reportFailure(template, reason) {
      const damage = await store.removeDamaged(template, AbortSignal.timeout(60_000));
      if (damage === undefined) giveUp(template.key, reason);
    },
  };
}
