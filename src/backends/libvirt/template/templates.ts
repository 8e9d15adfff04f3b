/**
 * Templates: machines that were booted once and frozen, of which sandboxes are clones. One for each prepared disk and
 * machine shape, made when it is first worth it.
 */
import { timeoutSignal } from "../../../core/deadline.ts";
import type { WorkContext } from "../../../core/step.ts";
import { toHeyvmError } from "../../../errors/index.ts";
import type { Architecture } from "../../../images/image.ts";
import type { LibvirtHost } from "../host.ts";
import { type Growth, growableShape, growthTo } from "./growth.ts";
import { obstacleToCloning, templatesAreOff } from "./obstacle.ts";
import type { Template } from "./template-files.ts";
import { type MachineShape, templateKey } from "./template-key.ts";
import {
  createTemplateMaker,
  kindOf,
  reasonOf,
  type TemplateMakerOptions,
  type WayRequest,
} from "./template-maker.ts";
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

export interface Templates extends Pick<TemplateStore, "list" | "remove"> {
  /** Why machines of this architecture boot, whatever else is asked for; `undefined` where they can be cloned. */
  obstacle(architecture: Architecture, signal: AbortSignal): Promise<string | undefined>;
  /** For a host without an obstacle. `now`: makes the template even when its shape was not asked for before, or could not be had a while ago. */
  wayFor(request: WayRequest, context: WorkContext, options?: { now?: boolean }): Promise<Way>;
  /** Whether a clone of this template has answered since this process began; else the next one has to show it. */
  isProven(template: Template): boolean;
  /** Never fails. */
  reportSuccess(template: Template): Promise<void>;
  /**
   * A clone came to nothing; `hadWorked`: of a template that was proven when it began. A damaged template is removed, so
   * that the next sandbox gets a new one. One that none has come out of is removed, too, and machines of its kind boot for
   * a while. One that has worked has to prove itself again. Never fails: what cannot be removed now is tried again.
   */
  reportFailure(template: Template, reason: string, options: { hadWorked: boolean }): Promise<void>;
  /** The kinds of which machines boot because their template does not work, with the reasons. */
  doubts(): Promise<string[]>;
  /** Builds that are under way in this process. */
  readonly building: ReadonlySet<string>;
  /** Ends what is made for later. */
  close(): Promise<void>;
}

export interface TemplatesOptions extends TemplateMakerOptions {
  use: TemplateUse;
  /** The size that most sandboxes have; larger ones grow out of a template of this memory. */
  usual: Pick<MachineShape, "vcpus" | "memoryBytes"> | undefined;
}

/** A size that no clone can grow to gets a template when it is asked for so often. */
const worthFrom = 2;
/** A size that clones grow to is worth a template, which saves them that, when it is asked for so often. */
const oftenFrom = 5;
const discardTimeoutMs = 60_000;

/** With a budget of 0, none at all. */
export function createTemplates(host: LibvirtHost, options: TemplatesOptions): Templates {
  const { store, trust } = options;
  const maker = createTemplateMaker(host, options);
  const closing = new AbortController();
  let behind: Promise<void> | undefined;
  /** What is made behind. */
  let behindKey: string | undefined;
  /** Builds that were found not to work: of several clones at once, the first to fail says so. */
  const discarded = new Set<string>();
  /** Why what was made behind could not be, by key. */
  const failures = new Map<string, string>();

  function isUsual({ vcpus, memoryBytes }: MachineShape): boolean {
    return vcpus === options.usual?.vcpus && memoryBytes === options.usual.memoryBytes;
  }

  async function openOrMake(request: WayRequest, key: string, context: WorkContext): Promise<CloneWay> {
    return { ...(await maker.openOrMake(request, key, context)), shape: request.shape, growth: undefined };
  }

  /**
   * Nobody waits for the template of a size that may never be asked for again. Whoever asks while it is made does: that
   * takes less than another boot beside it.
   */
  async function wayOfOtherSize(request: WayRequest, key: string, context: WorkContext): Promise<Way> {
    const { signal } = context;
    const asked = await options.use.ask(key);
    const doubt = await trust.doubt(key);
    const own = doubt === undefined ? await store.open(key, signal) : undefined;
    if (own !== undefined) return { ...own, shape: request.shape, growth: undefined };
    const growable = growableShape(options.usual, request.shape);
    const growableKey = growable === undefined ? undefined : await keyOf(request, growable, signal);
    const growableDoubt = growableKey === undefined ? undefined : await trust.doubt(growableKey);
    if (growable === undefined || growableKey === undefined || growableDoubt !== undefined) {
      if (doubt !== undefined) return { template: undefined, reason: doubt };
      if (behindKey === key) return openOrMake(request, key, context);
      const otherwise = growableDoubt ?? "no sandbox had this size before";
      return { template: undefined, reason: asked >= worthFrom ? makeBehind(request, key) : otherwise };
    }
    const base = { ...request, shape: growable };
    await options.use.ask(growableKey);
    const ready =
      (await store.open(growableKey, signal)) ??
      (behindKey === growableKey ? await openOrMake(base, growableKey, context) : undefined);
    if (ready === undefined) return { template: undefined, reason: makeBehind(base, growableKey) };
    if (asked >= oftenFrom) makeBehind(request, key);
    const { template, state } = ready;
    return { template, state, shape: growable, growth: growthTo(growable, request.shape) };
  }

  /** One at a time: whoever uses the host now matters more. Returns in words why this machine boots. */
  function makeBehind(request: WayRequest, key: string): string {
    const what = request.shape.room === undefined ? "its template" : "the template of larger sandboxes";
    const failure = failures.get(key);
    if (!closing.signal.aborted && behindKey === undefined) {
      behindKey = key;
      behind = makeUnlessDoubted(request, key)
        .then(
          () => void failures.delete(key),
          (error: unknown) => void failures.set(key, reasonOf(error)),
        )
        .finally(() => (behindKey = undefined));
    }
    return failure ?? `${what} is ${behindKey === key ? "being made" : "made when another is finished"}`;
  }

  async function makeUnlessDoubted(request: WayRequest, key: string): Promise<void> {
    if ((await trust.doubt(key)) !== undefined) return;
    await maker.openOrMake(request, key, { signal: closing.signal, onStep: () => undefined });
  }

  function keyOf(request: WayRequest, shape: MachineShape, signal: AbortSignal): Promise<string> {
    return templateKey(host, request.preparedDisk, shape, signal);
  }

  return {
    building: maker.building,
    list: (signal) => store.list(signal),
    remove: (key, signal) => store.remove(key, signal),

    async obstacle(architecture, signal) {
      if (options.budgetBytes === 0) return templatesAreOff;
      return obstacleToCloning(host, architecture, options.cloningRefusalPath, signal);
    },

    async wayFor(request, context, { now = false } = {}) {
      const { signal } = context;
      const key = await keyOf(request, request.shape, signal);
      if (now) {
        const way = await openOrMake(request, key, context);
        await trust.letTry(key, kindOf(request.image.reference, request.type, request.shape));
        // What is asked for may grow out of another one the next time.
        const growable = growableShape(options.usual, request.shape);
        if (growable !== undefined) {
          const kind = kindOf(request.image.reference, request.type, growable);
          await trust.letTry(await keyOf(request, growable, signal), kind);
        }
        return way;
      }
      return orBoot(signal, async () => {
        if (!isUsual(request.shape)) return wayOfOtherSize(request, key, context);
        await options.use.ask(key);
        const doubt = await trust.doubt(key);
        if (doubt !== undefined) return { template: undefined, reason: doubt };
        return openOrMake(request, key, context);
      });
    },

    async close() {
      closing.abort();
      await behind;
      await Promise.all([options.use.saved(), trust.saved()]);
    },

    isProven: ({ build }) => trust.isProven(build),
    async reportSuccess(template) {
      const { key, build } = template;
      // One of several at once did not work: what that has led to stays.
      if (discarded.has(build)) await trust.letTry(key, kindOfTemplate(template));
      else await trust.prove(key, build, kindOfTemplate(template));
    },
    async reportFailure(template, reason, { hadWorked }) {
      const { key, build } = template;
      if (hadWorked || trust.isProven(build)) {
        trust.unprove(build);
        return;
      }
      if (discarded.has(build)) return;
      discarded.add(build);
      const signal = timeoutSignal(discardTimeoutMs);
      const damage = await store.removeDamaged(template, signal).catch(() => undefined);
      if (damage !== undefined) return;
      await trust.doubtFrom(key, kindOfTemplate(template), reason);
      await store.discard(template, signal).catch(() => discarded.delete(build));
    },
    doubts: () => trust.doubts(),
  };
}

/** What `work` returns; where that fails, the machine boots: no create fails because of a template. */
async function orBoot(signal: AbortSignal, work: () => Promise<Way>): Promise<Way> {
  try {
    return await work();
  } catch (error) {
    // Without libvirt it cannot boot, either.
    if (signal.aborted || toHeyvmError(error).code === "backend_unavailable") throw error;
    return { template: undefined, reason: reasonOf(error) };
  }
}

function kindOfTemplate({ marker: { reference, template } }: Template): string {
  return kindOf(reference, template.type, template);
}
