import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { HeyvmError } from "../../../errors/index.ts";
import type { MachineStep } from "../../backend.ts";
import type { Image } from "../../../images/image.ts";
import type { PreparationMetadata } from "../domain-metadata.ts";
import type { HostCapabilities } from "../host.ts";
import { createMemoryHost } from "../testing/memory-host.ts";
import type { makeTemplate } from "./make-template.ts";
import { CloningRefusedError } from "./obstacle.ts";
import { type Template, templateFiles } from "./template-files.ts";
import type { MachineShape } from "./template-key.ts";
import type { TemplateStore } from "./template-store.ts";
import { createTemplateTrust } from "./template-trust.ts";
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
let capabilities: Partial<HostCapabilities>;
let templates: Templates;
let setUp: TemplatesOptions;
/** What was frozen, in order: `1 cpu`, `2 cpus`, `1 cpu with room`. */
let frozen: string[];
/** Thrown by the next freeze. */
let failure: Error | undefined;
/** Templates that are there. */
let there: Map<string, Template>;
let freeBytes: number;
/** What is wrong with a template's files. */
let damage: string | undefined;
/** What takes a freeze its time. */
let freezing: ((onStep: (step: MachineStep) => void) => Promise<void>) | undefined;
/** Nothing can be removed. */
let isBusy: boolean;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "heyvm-templates-"));
  frozen = [];
  failure = undefined;
  there = new Map();
  freeBytes = 1024 * GiB;
  damage = undefined;
  isBusy = false;
  freezing = undefined;
  const emulator = join(folder, "qemu");
  await writeFile(emulator, "");
  capabilities = { confinement: undefined, emulators: { x86_64: emulator } };
  setUp = {
    owner: "me",
    logFolder: folder,
    runtimeFolder: folder,
    agentTimeoutMs: 1000,
    store,
    use: createTemplateUse(join(folder, "templates.json")),
    trust: createTemplateTrust(join(folder, "template-doubts.json")),
    freeze,
    freeBytes: async () => freeBytes,
    cloningRefusalPath: join(folder, "cloning.json"),
    usual: { vcpus: 1, memoryBytes: GiB },
    budgetBytes: GiB,
  };
  templates = createTemplates(createMemoryHost(capabilities), setUp);
});
afterEach(async () => {
  await templates.close();
  await rm(folder, { recursive: true });
});

const freeze: typeof makeTemplate = async (_host, { shape, metadata }, _options, onStep) => {
  const { vcpus, room } = shape;
  frozen.push(`${vcpus} ${vcpus === 1 ? "cpu" : "cpus"}${room === undefined ? "" : " with room"}`);
  const planted = failure;
  failure = undefined;
  if (planted !== undefined) throw planted;
  await freezing?.(onStep);
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
  removeDamaged: async () => damage,
  async discard({ key }) {
    if (isBusy) throw new Error("the pool is busy");
    there.delete(key);
  },
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

async function made(): Promise<Template> {
  const { template } = await ask(1);
  if (template === undefined) throw new Error("there is no template");
  return template;
}

async function untilMade(count: number): Promise<void> {
  await expect.poll(() => there.size).toBe(count);
}

test("the first sandbox of the usual size waits for the template, once, and the next finds it", async () => {
  expect(await Promise.all([asked(1), asked(1)])).toEqual(["clone", "clone"]);
  expect(await asked(1)).toBe("clone");
  expect(frozen).toEqual(["1 cpu"]);
});

test("two daemons of one user make it once, and the one that waits sees how far the other is", async () => {
  const trust = createTemplateTrust(join(folder, "other-doubts.json"));
  const use = createTemplateUse(join(folder, "other-templates.json"));
  const other = createTemplates(createMemoryHost(capabilities), { ...setUp, trust, use });
  const shape: MachineShape = { architecture: "x86_64", accelerator: "tcg", vcpus: 1, memoryBytes: GiB };
  const request = { image, type: "shell" as const, preparedDisk: "prepared.qcow2", shape };
  const seen = new Set<string>();
  const signal = AbortSignal.timeout(60_000);
  freezing = async (onStep) => {
    onStep({ id: "boot", title: "booting", state: "started" });
    // Until the other one has seen it.
    await expect.poll(() => seen.size).toBe(1);
  };
  const first = asked(1);
  await expect.poll(() => frozen).toHaveLength(1);
  const second = other.wayFor(request, { signal, onStep: ({ title }) => void seen.add(title) });
  expect(await first).toBe("clone");
  expect((await second).template).toBeDefined();
  expect({ frozen, seen: [...seen] }).toEqual({ frozen: ["1 cpu"], seen: ["booting"] });
  await other.close();
});

test("a budget of 0 turns templates off, and the reason names the setting", async () => {
  await templates.close();
  templates = createTemplates(createMemoryHost(), { ...setUp, budgetBytes: 0 });
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
  expect(await asked(1)).toBe("boots: there is no template: the guest never rests");
  expect(await asked(1)).toBe("boots: there is no template: the guest never rests");
  expect(frozen).toHaveLength(1);
  failure = new Error("still not");
  await expect(asked(1, GiB, { now: true })).rejects.toThrow("still not");
  expect(await asked(1, GiB, { now: true })).toBe("clone");
});

test("no create fails because of a template: with a full disk or a silent guest the machine boots", async () => {
  for (const code of ["disk_full", "guest_unresponsive", "guest_failed"] as const) {
    failure = new HeyvmError(code, `no ${code}`);
    expect(await asked(1)).toBe(`boots: there is no template: no ${code}`);
    await expect(asked(1, GiB, { now: true })).resolves.toBe("clone");
    there.clear();
  }
});

test("without libvirt nothing boots, either, and that is no reason against the template", async () => {
  failure = new HeyvmError("backend_unavailable", "libvirt is away");
  await expect(asked(1)).rejects.toMatchObject({ code: "backend_unavailable" });
  expect(await asked(1)).toBe("clone");
});

test("no template is begun that may fill the disk; it is looked at again each time", async () => {
  freeBytes = GiB;
  expect(await asked(1)).toMatch(/^boots: there is no template: .* 1\.5 GiB.* \/pool has 1 GiB free$/);
  await expect(asked(1, GiB, { now: true })).rejects.toMatchObject({ code: "disk_full" });
  expect(frozen).toEqual([]);
  freeBytes = 2 * GiB;
  expect(await asked(1)).toBe("clone");
});

test("many who want a template that cannot be made count as one failure", async () => {
  failure = new Error("the guest never rests");
  await Promise.all([asked(1), asked(1), asked(1)]);
  const untilMs = Date.parse(/until (\S+):/.exec((await templates.doubts())[0] ?? "")?.[1] ?? "");
  expect(untilMs).toBeGreaterThan(Date.now());
  expect(untilMs).toBeLessThan(Date.now() + 31 * 60_000);
});

describe("a template of which a clone did not start", () => {
  const kind = "debian:12 for shell, 1 CPU, 1 GiB";
  const unproven = { hadWorked: false };

  test("is thrown away when none has; such machines boot, also after the daemon's next start, until somebody has it made", async () => {
    const template = await made();
    expect(templates.isProven(template)).toBe(false);
    const failures = ["silent", "too"].map((reason) => templates.reportFailure(template, reason, unproven));
    await Promise.all(failures);
    expect(there.size).toBe(0);
    expect(await asked(1)).toBe("boots: silent");
    expect(await templates.doubts()).toEqual([expect.stringMatching(`^${kind} until .*: silent$`)]);
    await templates.close();
    setUp = { ...setUp, trust: createTemplateTrust(join(folder, "template-doubts.json")) };
    templates = createTemplates(createMemoryHost(capabilities), setUp);
    expect(await asked(1)).toBe("boots: silent");
    expect(frozen).toHaveLength(1);
    expect(await asked(1, GiB, { now: true })).toBe("clone");
    expect(await asked(1)).toBe("clone");
    expect(await templates.doubts()).toEqual([]);
  });

  test("gets another try when one has worked, also when several of one moment come to nothing", async () => {
    const template = await made();
    await templates.reportSuccess(template);
    const worked = { hadWorked: true };
    await Promise.all([1, 2, 3].map(() => templates.reportFailure(template, "no memory", worked)));
    expect(await asked(1)).toBe("clone");
    expect(templates.isProven(template)).toBe(false);
    await templates.reportFailure(template, "no memory", unproven);
    expect(await asked(1)).toBe("boots: no memory");
  });

  test("is made again when another of the same moment has worked after all", async () => {
    const template = await made();
    await templates.reportFailure(template, "silent", unproven);
    await templates.reportSuccess(template);
    expect(await asked(1)).toBe("clone");
    expect(frozen).toHaveLength(2);
  });

  test("and is damaged is made again", async () => {
    damage = "its memory was changed";
    await templates.reportFailure(await made(), "silent", unproven);
    expect(await asked(1)).toBe("clone");
    expect(await templates.doubts()).toEqual([]);
  });

  test("and cannot be removed now is doubted all the same, and removed when it fails again", async () => {
    const template = await made();
    isBusy = true;
    await templates.reportFailure(template, "silent", unproven);
    expect(there.size).toBe(1);
    expect(await asked(1)).toBe("boots: silent");
    isBusy = false;
    await templates.reportFailure(template, "silent again", unproven);
    expect(there.size).toBe(0);
  });

  test("and of which larger ones are made is told of as such; whoever has one made lifts that, too", async () => {
    await asked(2);
    await untilMade(1);
    const { template } = await ask(2);
    if (template === undefined) throw new Error("there is no template");
    await templates.reportFailure(template, "silent", unproven);
    expect(await templates.doubts()).toEqual([
      expect.stringContaining("debian:12 for shell, larger than 1 CPU, 1 GiB until "),
    ]);
    expect(await asked(3)).toBe("boots: silent");
    expect(await asked(2, GiB, { now: true })).toBe("clone");
    expect(await asked(4)).toBe("boots: the template of larger sandboxes is being made");
  });
});

test("a larger one is told why the template of larger ones could not be made behind it", async () => {
  freeBytes = GiB;
  expect(await asked(2)).toBe("boots: the template of larger sandboxes is being made");
  await expect.poll(() => asked(3)).toMatch(/^boots: there is no template: a template may take 1\.5 GiB/);
  freeBytes = 2 * GiB;
  await asked(3);
  await untilMade(1);
  expect(await asked(3)).toBe("clone, 2 cpus more");
});

test("a QEMU that refuses what cloning needs is asked once", async () => {
  failure = new CloningRefusedError(new Error("Invalid parameter 'x-ignore-shared'"));
  expect(await asked(1)).toContain("x-ignore-shared");
  expect(await asked(2)).toBe("boots: QEMU refuses the capability x-ignore-shared, which cloning needs");
  expect(frozen).toHaveLength(1);
});
