/**
 * The warm pool: machines that run, identified, before anybody asked for them. This file decides when one is made and
 * who gets it; how one is made, and removed, it is told.
 */
import type { AgentSession } from "../agent/types.ts";
import type { Backend, StartedMachine } from "../backends/backend.ts";
import type { LiveSandbox } from "./registry.ts";

/** What the daemon's pool is filled with (`warm-machine.ts`). */
export interface WarmMachine {
  id: string;
  sandbox: LiveSandbox;
  backend: Backend;
  agent: AgentSession;
  started: StartedMachine;
}

export interface WarmPool<M extends { id: string }> {
  /** How many wait. */
  readonly ready: number;
  /** Begins to fill the pool, behind whoever waits for something now. */
  start(): void;
  /** Until it is disposed of, no machine is begun: somebody waits for a create. */
  hold(): Disposable;
  /** One that fits; it goes on waiting. */
  find(fits: (machine: M) => boolean): M | undefined;
  /**
   * Gives one that waits to `use`, and to nobody else. Returns `undefined`: it is of no use, and is removed behind. What
   * `use` throws about, it has removed itself.
   */
  claim<T>(machine: M, use: () => Promise<T | undefined>): Promise<T | undefined>;
  /** Its machine ended or lost its agent: it is removed, if it still waits. */
  lose(id: string): void;
  /** Waits for the end of what the signal of the options has ended, and removes all. */
  close(): Promise<void>;
}

export interface WarmPoolOptions<M> {
  size: number;
  make: (signal: AbortSignal) => Promise<M>;
  /** Never fails. */
  remove: (machine: M) => Promise<void>;
  /** The daemon is about to leave. */
  signal: AbortSignal;
  onFailure: (error: unknown, retryMs: number) => void;
  /** Instead of `restMs`, for tests. */
  restMs?: number | undefined;
}

/** Who got a machine uses it at once, and the making of the next would slow that. */
const defaultRestMs = 1000;
const firstRetryMs = 5000;
const longestRetryMs = 10 * 60_000;

export function createWarmPool<M extends { id: string }>(options: WarmPoolOptions<M>): WarmPool<M> {
  const { size, signal, restMs = defaultRestMs } = options;
  const waiting: M[] = [];
  const underWay = new Set<Promise<unknown>>();
  const holds = new Set<Disposable>();
  let released: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  let filling: Promise<void> | undefined;
  /** Makes that failed and machines that were lost since one was of use. */
  let failures = 0;

  const isWanted = (): boolean => !signal.aborted && waiting.length < size;

  function fillAfter(delayMs: number): void {
    if (timer !== undefined || filling !== undefined || !isWanted()) return;
    timer = setTimeout(() => {
      timer = undefined;
      filling = fill();
    }, delayMs);
  }

  async function fill(): Promise<void> {
    let delayMs = restMs;
    try {
      while (isWanted()) {
        await untilNoneHolds();
        if (!isWanted()) break;
        const machine = await options.make(signal);
        if (signal.aborted) await options.remove(machine);
        else waiting.push(machine);
      }
    } catch (error) {
      delayMs = retryMs();
      if (!signal.aborted) options.onFailure(error, delayMs);
    } finally {
      filling = undefined;
      fillAfter(delayMs);
    }
  }

  function retryMs(): number {
    failures += 1;
    return Math.min(longestRetryMs, firstRetryMs * 2 ** (failures - 1));
  }

  async function untilNoneHolds(): Promise<void> {
    while (holds.size > 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        released = resolve;
      });
    }
  }

  async function followed<T>(work: Promise<T>): Promise<T> {
    underWay.add(work);
    return await work.finally(() => underWay.delete(work));
  }

  async function settle<T>(machine: M, use: () => Promise<T | undefined>): Promise<T | undefined> {
    let delayMs = restMs;
    try {
      const used = await use();
      if (used === undefined) {
        delayMs = retryMs();
        void followed(options.remove(machine));
      } else {
        failures = 0;
      }
      return used;
    } finally {
      fillAfter(delayMs);
    }
  }

  signal.addEventListener("abort", () => released?.(), { once: true });
  return {
    get ready() {
      return waiting.length;
    },
    start: () => fillAfter(restMs),
    hold() {
      const hold: Disposable = {
        [Symbol.dispose]() {
          holds.delete(hold);
          if (holds.size === 0) released?.();
        },
      };
      holds.add(hold);
      return hold;
    },
    find: (fits) => (signal.aborted ? undefined : waiting.find(fits)),
    async claim(machine, use) {
      waiting.splice(waiting.indexOf(machine), 1);
      return await followed(settle(machine, use));
    },
    lose(id) {
      const index = waiting.findIndex((machine) => machine.id === id);
      if (index < 0) return;
      for (const machine of waiting.splice(index, 1)) void followed(options.remove(machine));
      fillAfter(retryMs());
    },
    async close() {
      clearTimeout(timer);
      await filling;
      for (const machine of waiting.splice(0)) void followed(options.remove(machine));
      while (underWay.size > 0) await Promise.allSettled(underWay);
    },
  };
}
