import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { ForthcomingMachine } from "../../abilities.ts";
import { removeOrphans } from "../storage/prune.ts";
import { createMemoryHost, type MemoryHost } from "../testing/memory-host.ts";
import { createShells, type Shells } from "./shells.ts";
import { findTemplate, type Template, templateFiles } from "./template-files.ts";

const { signal } = new AbortController();
const shape = {
  architecture: "x86_64" as const,
  accelerator: "tcg" as const,
  vcpus: 1,
  memoryBytes: 1024 ** 3,
};
const usual: ForthcomingMachine = {
  imageReference: "debian:12",
  type: "shell",
  cpus: 1,
  memoryBytes: 1024 ** 3,
  mounts: [],
  network: false,
};

let host: MemoryHost;
let shells: Shells;
let template: Template;
beforeEach(async () => {
  vi.useFakeTimers();
  host = createMemoryHost();
  shells = createShells(host, { owner: "me", perTemplate: 2, restMs: 0 });
  template = await plant("0123456789abcdef", "00000001");
});
afterEach(async () => {
  await shells.close();
  vi.useRealTimers();
});

async function plant(key: string, build: string): Promise<Template> {
  const stamp = { sizeBytes: 0, inode: "1", modified: "0", changed: "0" };
  const marker = {
    disk: templateFiles(key, build).disk,
    fingerprint: "sha256:aa",
    reference: "debian:12",
    createdAt: "now",
    template: {
      ...shape,
      type: "shell",
      preparedDisk: "prepared.qcow2",
      stamps: { disk: stamp, ram: stamp, state: stamp, blank: stamp },
    },
  };
  host.volumes.set(`template-${key}.json`, { content: Buffer.from(JSON.stringify(marker)) });
  host.volumes.set(templateFiles(key, build).blank, {});
  const planted = await findTemplate(await host.storage(signal), key, signal);
  if (planted === undefined) throw new Error("it is not found");
  return planted;
}

const waiting = () => [...host.machines.keys()].map((domain) => domain.replace("heyvm-", ""));
const volumes = () => [...host.volumes.keys()].filter((volume) => volume.startsWith("sb-"));
/** Until so many wait. Their makers' marks come from `/proc`, which knows of no fake timers. */
/** `vi.waitFor` moves the clock that is wound by hand, which `expect.poll` does not. */
const patience = { timeout: 60_000 };

async function settled(count: number): Promise<void> {
  await vi.waitFor(() => expect(waiting()).toHaveLength(count), patience);
  await vi.advanceTimersByTimeAsync(1_000);
}

test("after a clone, as many machines wait as are wanted, paused, for the next sandboxes of the kind", async () => {
  expect(shells.reserve(usual)).toBeUndefined();
  shells.keep(usual, template, shape);
  await settled(2);
  expect([...host.machines.values()].map(({ state }) => state)).toEqual(["paused", "paused"]);
  const others = [
    { imageReference: "ubuntu:24.04" },
    { type: "node" as const },
    { cpus: 2 },
    { memoryBytes: 2 * 1024 ** 3 },
    { mounts: ["/srv"] },
    { network: true },
  ];
  for (const other of others) expect(shells.reserve({ ...usual, ...other })).toBeUndefined();
  const ids = [shells.reserve(usual), shells.reserve(usual)];
  expect(new Set(ids)).toEqual(new Set(waiting()));
  expect(shells.reserve(usual)).toBeUndefined();
  for (const id of ids) expect(await shells.claim(id ?? "", template)).toBe(true);
  expect(waiting()).toHaveLength(2);
  shells.keep(usual, template, shape);
  // Two that were claimed, and two new ones.
  await settled(4);
});

test("a machine that waits for another template is removed, and so is one whose sandbox never came", async () => {
  shells.keep(usual, template, shape);
  await settled(2);
  const [other, late] = [shells.reserve(usual) ?? "", shells.reserve(usual) ?? ""];
  expect(await shells.claim(other, await plant("fedcba9876543210", "00000002"))).toBe(false);
  expect(waiting()).toEqual([late]);
  await vi.advanceTimersByTimeAsync(120_000);
  expect(waiting()).toEqual([]);
  expect(volumes()).toEqual([]);
  expect(await shells.claim(late, template)).toBe(false);
});

test("they go when nobody wants one for a while, with their template, and with the daemon", async () => {
  const leave = [
    () => vi.advanceTimersByTimeAsync(3_600_000),
    () => shells.drop(template.key),
    () => shells.close(),
  ];
  for (const go of leave) {
    shells.keep(usual, template, shape);
    await settled(2);
    await go();
    expect({ machines: waiting(), volumes: volumes() }).toEqual({ machines: [], volumes: [] });
  }
  host.calls.length = 0;
  shells.keep(usual, template, shape);
  expect(host.calls).toEqual([]);
});

test("one that cannot be launched leaves nothing, and is tried again after the next clone", async () => {
  host.failOn = "start paused";
  shells.keep(usual, template, shape);
  await vi.waitFor(() => expect(host.calls.at(-1)).toContain("undefine"), patience);
  await settled(0);
  expect({ machines: waiting(), volumes: volumes() }).toEqual({ machines: [], volumes: [] });
  shells.keep(usual, template, shape);
  await settled(2);
});

test("those of a daemon that died are removed, those of one that lives are not", async () => {
  shells.keep(usual, template, shape);
  await settled(2);
  const [lives, orphan] = waiting();
  const machine = host.machines.get(`heyvm-${orphan}`);
  if (machine === undefined) throw new Error("it is not there");
  machine.xml = machine.xml.replace(/(startTicks\D+)\d+/, (_, name: string) => `${name}1`);
  await removeOrphans(host, { owner: "me", runtimeFolder: "/nowhere" }, signal);
  expect(waiting()).toEqual([lives]);
  expect(volumes()).toEqual([`${lives}.qcow2`]);
});
