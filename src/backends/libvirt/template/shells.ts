/**
 * Shells: machines that were launched before anybody asked for them and wait for their template's state. Most of what a
 * clone costs the host is libvirt's launch of QEMU, which needs nothing of the request but its kind. A shell has no guest
 * memory and uses no CPU. Its domain already has the id of the sandbox that it will be, because libvirt cannot rename a
 * domain that runs; so a sandbox that wants a shell takes its id first (`reserve`), and `claim` looks whether it fits.
 */
import { setTimeout as delay } from "node:timers/promises";

import { timeoutSignal } from "../../../core/deadline.ts";
import type { ForthcomingMachine } from "../../abilities.ts";
import { buildDomainXml, type DomainShape } from "../domain/domain-xml.ts";
import type { LibvirtHost } from "../host.ts";
import { machineNames, newBuild, uuidFor } from "../names.ts";
import { markOfThisProcess } from "../process-mark.ts";
import { launchClone } from "./clone.ts";
import type { Template } from "./template-files.ts";
import type { MachineShape } from "./template-key.ts";

export interface Shells {
  /** An id under which a shell waits that was launched for requests like this one. */
  reserve(request: ForthcomingMachine): string | undefined;
  /** Whether a shell of this template waits under this id; one of another template is removed. */
  claim(id: string, template: Template | undefined): Promise<boolean>;
  /** A clone of this template was made for such a request: the next may come soon. */
  keep(request: ForthcomingMachine, template: Template, shape: ShellShape): void;
  /** Removes those that wait for one template, or all of them. */
  drop(templateKey?: string): Promise<void>;
  /** As `drop`, and launches no more. */
  close(): Promise<void>;
}

export interface ShellsOptions {
  owner: string;
  /** How many wait for each template; 0 for none. */
  perTemplate: number;
  /** Instead of `defaultRestMs`, for tests. */
  restMs?: number | undefined;
}

/** What all machines of a template share. */
export type ShellShape = MachineShape & Pick<DomainShape, "translationCacheBytes">;

interface Pool {
  template: Template;
  shape: ShellShape;
  waiting: string[];
  idle: NodeJS.Timeout;
}

/** For all templates together: each costs the host some 30 MB. */
const mostShells = 6;
/** A template of which nobody wanted a clone for so long has no shells. */
const idleMs = 10 * 60_000;
/** A sandbox whose id was handed out may never be made, or have to download its image first. */
const claimWithinMs = 60_000;
/** Whoever got a machine runs a first command now, and a launch beside it would slow that. */
const defaultRestMs = 1000;
const launchTimeoutMs = 120_000;
const removeTimeoutMs = 60_000;

export function createShells(host: LibvirtHost, options: ShellsOptions): Shells {
  const { owner, perTemplate, restMs = defaultRestMs } = options;
  /** By build of the template. */
  const pools = new Map<string, Pool>();
  /** The build that requests of a kind led to the last time. */
  const builds = new Map<string, string>();
  /** Shells whose ids were handed out. */
  const reserved = new Map<string, { build: string; expiry: NodeJS.Timeout }>();
  const leaving = new Map<string, Promise<void>>();
  const closing = new AbortController();
  let filling: Promise<void> | undefined;

  async function fill(): Promise<void> {
    await delay(restMs, undefined, { signal: closing.signal }).catch(() => undefined);
    for (let pool = nextToFill(); pool !== undefined; pool = nextToFill()) {
      const id = `sb-${newBuild()}`;
      try {
        // To its end even when this closes: half a launch would be harder to find.
        await launch(id, pool, timeoutSignal(launchTimeoutMs));
      } catch {
        // Whoever needs a machine now launches one and is told what is wrong; the next clone tries this again.
        await remove(id);
        return;
      }
      // The template may have been given up meanwhile.
      if (pools.get(pool.template.build) === pool) pool.waiting.push(id);
      else await remove(id);
    }
  }

  function nextToFill(): Pool | undefined {
    const all = [...pools.values()];
    const count = all.reduce((sum, { waiting }) => sum + waiting.length, 0);
    if (closing.signal.aborted || count >= mostShells) return undefined;
    return all.find(({ waiting }) => waiting.length < perTemplate);
  }

  async function launch(id: string, { template, shape }: Pool, signal: AbortSignal): Promise<void> {
    const storage = await host.storage(signal);
    const names = machineNames(id);
    const domain = {
      ...shape,
      name: names.domain,
      uuid: uuidFor(`${owner} ${id}`),
      title: "heyvm: waits to become a sandbox",
      metadata: { kind: "shell" as const, id, owner, maker: await markOfThisProcess() },
      disks: [{ path: storage.path(names.disk), format: "qcow2" as const, readOnly: false }],
      mounts: [],
      network: { kind: "none" as const },
      consoleLogPath: storage.path(names.consoleLog),
    };
    // Before its disk: should we die between the two, its metadata tells whose the disk is.
    await host.domains.define(buildDomainXml(domain), signal);
    await launchClone(host, { shape: domain, disk: names.disk, template }, signal);
  }

  /** What cannot be removed now is found by `prune`. */
  function remove(id: string): Promise<void> {
    const removal = removeMachine(id)
      .catch(() => undefined)
      .finally(() => leaving.delete(id));
    leaving.set(id, removal);
    return removal;
  }

  async function removeMachine(id: string): Promise<void> {
    const signal = timeoutSignal(removeTimeoutMs);
    const names = machineNames(id);
    await host.domains.kill(names.domain, signal);
    const storage = await host.storage(signal);
    for (const volume of [names.disk, names.consoleLog]) await storage.remove(volume, signal);
    await host.domains.remove(names.domain, signal);
  }

  function takeBack(id: string): string | undefined {
    const shell = reserved.get(id);
    clearTimeout(shell?.expiry);
    reserved.delete(id);
    return shell?.build;
  }

  async function drop(templateKey?: string): Promise<void> {
    const removals: Promise<void>[] = [];
    for (const [build, pool] of pools) {
      if (templateKey !== undefined && pool.template.key !== templateKey) continue;
      pools.delete(build);
      clearTimeout(pool.idle);
      const handedOut = [...reserved].flatMap(([id, shell]) => (shell.build === build ? [id] : []));
      for (const id of handedOut) takeBack(id);
      removals.push(...[...pool.waiting, ...handedOut].map(remove));
    }
    await Promise.all(removals);
  }

  return {
    reserve(request) {
      const build = builds.get(kindOf(request));
      const id = build === undefined ? undefined : pools.get(build)?.waiting.shift();
      if (build === undefined || id === undefined) return undefined;
      const expire = (): void => {
        takeBack(id);
        void remove(id);
      };
      reserved.set(id, { build, expiry: setTimeout(expire, claimWithinMs).unref() });
      return id;
    },
    async claim(id, template) {
      const build = takeBack(id);
      if (build !== undefined && build === template?.build) return true;
      await (build === undefined ? leaving.get(id) : remove(id));
      return false;
    },
    keep(request, template, shape) {
      if (perTemplate === 0 || closing.signal.aborted || !fitsShell(request)) return;
      const { build } = template;
      builds.set(kindOf(request), build);
      const pool = pools.get(build) ?? { template, shape, waiting: [], idle: setTimeout(() => undefined, 0) };
      pools.set(build, pool);
      clearTimeout(pool.idle);
      pool.idle = setTimeout(() => void drop(template.key), idleMs).unref();
      filling ??= fill().finally(() => (filling = undefined));
    },
    drop,
    async close() {
      closing.abort();
      await filling;
      await drop();
    },
  };
}

/** Folders and a network card are on QEMU's command line, which is no longer to be had. */
function fitsShell({ mounts, network }: ForthcomingMachine): boolean {
  return mounts.length === 0 && !network;
}

function kindOf(request: ForthcomingMachine): string {
  const { imageReference, type, cpus, memoryBytes } = request;
  return JSON.stringify([fitsShell(request), imageReference, type, cpus, memoryBytes]);
}
