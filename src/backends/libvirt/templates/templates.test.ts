import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { HeyvmError } from "../../../errors/index.ts";
import type { Image } from "../../../images/image.ts";
import type { PreparationMetadata } from "../domain-metadata.ts";
import { createMemoryHost } from "../testing/memory-host.ts";
import type { makeTemplate } from "./make-template.ts";
import { CloningRefusedError } from "./obstacle.ts";
import { type Template, templateFiles } from "./template-files.ts";
import type { MachineShape } from "./template-key.ts";
import type { TemplateStore } from "./template-store.ts";
import { createTemplateUse } from "./template-use.ts";
import { createTemplates, type Templates, type TemplatesOptions, type Way } from "./templates.ts";

const GiB = 1024 ** 3;
const image: Image = {
  reference: "debian:12",
  path: "/images/debian.qcow2",
  format: "qcow2",
  virtualSizeBytes: 3 * GiB,
  fingerprint: "sha256:aa",
  architecture: "x86_64",
};

let folder: string;
let templates: Templates;
let setUp: TemplatesOptions;
/** What was frozen, in order: `1 cpu`, `2 cpus`, `1 cpu with room`. */
let frozen: string[];
/** Thrown by the next freeze. */
let failure: Error | undefined;
/** Templates that are there. */
let there: Map<string, Template>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "heyvm-templates-"));
  frozen = [];
  failure = undefined;
  there = new Map();
  const emulator = join(folder, "qemu");
  await writeFile(emulator, "");
  const capabilities = { confinement: undefined, emulators: { x86_64: emulator } };
  setUp = {
    owner: "me",
    logFolder: folder,
    runtimeFolder: folder,
    agentTimeoutMs: 1000,
    store,
    use: createTemplateUse(join(folder, "templates.json")),
    cloningRefusalPath: join(folder, "cloning.json"),
    usual: { vcpus: 1, memoryBytes: GiB },
    budgetBytes: GiB,
  };
  templates = createTemplates(createMemoryHost(capabilities), setUp, freeze);
});
afterEach(async () => {
  await templates.close();
  await rm(folder, { recursive: true });
});

const freeze: typeof makeTemplate = async (_host, { shape, metadata }) => {
  const { vcpus, room } = shape;
  frozen.push(`${vcpus} ${vcpus === 1 ? "cpu" : "cpus"}${room === undefined ? "" : " with room"}`);
  const planted = failure;
  failure = undefined;
  if (planted !== undefined) throw planted;
  const template = templateOf(metadata, shape);
  there.set(metadata.key, template);
  return template;
};

function templateOf({ key, build }: PreparationMetadata, shape: MachineShape): Template {
  const files = templateFiles(key, build);
  const stamp = { sizeBytes: 0, inode: "1", modified: "0", changed: "0" };
  const stamps = { disk: stamp, ram: stamp, state: stamp, blank: stamp };
  const details = { ...shape, type: "shell" as const, preparedDisk: "prepared.qcow2", stamps };
  const { fingerprint, reference } = image;
  const marker = { disk: files.disk, fingerprint, reference, createdAt: "now", template: details };
  return { key, build, files, marker };
}

const store: TemplateStore = {
  async open(key) {
    const template = there.get(key);
    return template === undefined ? undefined : { template, state: Buffer.alloc(0) };
  },
  list: async () => [],
  remove: async () => "absent",
  removeDamaged: async () => undefined,
  keepWithin: async () => undefined,
};

async function ask(vcpus: number, memoryBytes = GiB, options?: { now?: boolean }): Promise<Way> {
  const shape: MachineShape = { architecture: "x86_64", accelerator: "tcg", vcpus, memoryBytes };
  const request = { image, type: "shell" as const, preparedDisk: "prepared.qcow2", shape };
  const context = { signal: new AbortController().signal, onStep: () => undefined };
  const reason = await templates.obstacle("x86_64", context.signal);
  return reason === undefined ? templates.wayFor(request, context, options) : { template: undefined, reason };
}

/** What a machine is, in words. */
async function asked(vcpus: number, memoryBytes = GiB, options?: { now?: boolean }): Promise<string> {
  const way = await ask(vcpus, memoryBytes, options);
  if (way.template === undefined) return `boots: ${way.reason}`;
  return way.growth === undefined ? "clone" : `clone, ${way.growth.vcpus} cpus more`;
}

async function untilMade(count: number): Promise<void> {
  await expect.poll(() => there.size).toBe(count);
}

test("the first sandbox of the usual size waits for the template, once, and the next finds it", async () => {
  expect(await Promise.all([asked(1), asked(1)])).toEqual(["clone", "clone"]);
  expect(await asked(1)).toBe("clone");
  expect(frozen).toEqual(["1 cpu"]);
});

test("a budget of 0 turns templates off, and the reason names the setting", async () => {
  await templates.close();
  templates = createTemplates(createMemoryHost(), { ...setUp, budgetBytes: 0 }, freeze);
  expect(await asked(1)).toMatch(/^boots: templates are turned off.*templates\.budget/);
});

test("the first larger one boots while a template is made that all larger ones grow out of", async () => {
  expect(await asked(2)).toBe("boots: the template of larger sandboxes is being made");
  await untilMade(1);
  expect(await asked(2)).toBe("clone, 1 cpus more");
  expect(await asked(4, 2 * GiB)).toBe("clone, 3 cpus more");
  expect(frozen).toEqual(["1 cpu with room"]);
});

test("a larger size that is asked for often gets a template of its own, behind", async () => {
  await asked(2);
  await untilMade(1);
  for (let times = 2; times <= 5; times += 1) expect(await asked(2)).toBe("clone, 1 cpus more");
  await untilMade(2);
  expect(await asked(2)).toBe("clone");
  expect(frozen).toEqual(["1 cpu with room", "2 cpus"]);
});

test("one whose own template fails goes on growing", async () => {
  await asked(2);
  await untilMade(1);
  for (let times = 2; times <= 4; times += 1) await asked(2);
  failure = new Error("no");
  await asked(2);
  await expect.poll(() => frozen).toHaveLength(2);
  for (let times = 6; times <= 8; times += 1) expect(await asked(2)).toBe("clone, 1 cpus more");
  expect(frozen).toEqual(["1 cpu with room", "2 cpus"]);
});

test("a size that nothing grows to is cloned from the third time on, and nobody waits for it", async () => {
  expect(await asked(1, GiB / 2)).toBe("boots: no sandbox had this size before");
  expect(await asked(1, GiB / 2)).toBe("boots: its template is being made");
  await untilMade(1);
  expect(await asked(1, GiB / 2)).toBe("clone");
});

test("where the template cannot be made, machines boot and say why, for a while; who asks for it is told", async () => {
  failure = new Error("the guest never rests");
  expect(await asked(1)).toBe("boots: no template could be made: the guest never rests");
  expect(await asked(1)).toBe("boots: no template could be made: the guest never rests");
  expect(frozen).toHaveLength(1);
  failure = new Error("still not");
  await expect(asked(1, GiB, { now: true })).rejects.toThrow("still not");
  expect(await asked(1, GiB, { now: true })).toBe("clone");
});

test("a full disk fails the sandbox, too, and is not remembered", async () => {
  failure = new HeyvmError("disk_full", "no room");
  await expect(asked(1)).rejects.toMatchObject({ code: "disk_full" });
  expect(await asked(1)).toBe("clone");
});

test("a QEMU that refuses what cloning needs is asked once", async () => {
  failure = new CloningRefusedError(new Error("Invalid parameter 'x-ignore-shared'"));
  expect(await asked(1)).toContain("x-ignore-shared");
  expect(await asked(2)).toBe("boots: QEMU refuses the capability x-ignore-shared, which cloning needs");
  expect(frozen).toHaveLength(1);
});
