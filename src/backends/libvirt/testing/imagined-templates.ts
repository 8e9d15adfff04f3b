/** Templates on a libvirt that lives in memory: nothing boots, and what goes wrong is planted. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";

import type { Step } from "../../../core/step.ts";
import type { Image } from "../../../images/image.ts";
import type { PreparationMetadata } from "../domain/domain-metadata.ts";
import type { makeTemplate } from "../template/make-template.ts";
import { type Template, templateFiles } from "../template/template-files.ts";
import type { MachineShape } from "../template/template-key.ts";
import type { TemplateStore } from "../template/template-store.ts";
import { createTemplateTrust } from "../template/template-trust.ts";
import { createTemplateUse } from "../template/template-use.ts";
import { createTemplates, type Templates, type TemplatesOptions, type Way } from "../template/templates.ts";
import { createMemoryHost } from "./memory-host.ts";

const GiB = 1024 ** 3;
const image: Image = {
  reference: "debian:12",
  path: "/images/debian.qcow2",
  format: "qcow2",
  virtualSizeBytes: 3 * GiB,
  fingerprint: "sha256:aa",
  architecture: "x86_64",
};

export interface ImaginedTemplates extends AsyncDisposable {
  templates: Templates;
  /** What was frozen, in order: `1 cpu`, `2 cpus`, `1 cpu with room`. */
  frozen: string[];
  /** Thrown by the next freeze. */
  failure: Error | undefined;
  /** Templates that are there. */
  there: Map<string, Template>;
  freeBytes: number;
  /** What is wrong with a template's files. */
  damage: string | undefined;
  /** What takes a freeze its time. */
  freezing: ((onStep: (step: Step) => void) => Promise<void>) | undefined;
  /** Nothing can be removed. */
  isBusy: boolean;
  /** The templates of another daemon of this user, with a state folder of its own. */
  other(): Templates;
  /** As the next daemon of the state folder, with other settings. */
  restart(settings?: Partial<TemplatesOptions>): Promise<void>;
  ask(vcpus: number, memoryBytes?: number, options?: AskOptions): Promise<Way>;
  /** What a machine is, in words. */
  asked(vcpus: number, memoryBytes?: number, options?: AskOptions): Promise<string>;
  /** The template of the usual size. */
  made(): Promise<Template>;
  untilMade(count: number): Promise<void>;
}

interface AskOptions {
  now?: boolean;
  /** Whom to ask, and who is told of the steps; ours and nobody. */
  of?: Templates;
  onStep?: (step: Step) => void;
}

export async function imagineTemplates(): Promise<ImaginedTemplates> {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-templates-"));
  const emulator = join(folder, "qemu");
  await writeFile(emulator, "");
  const open = (name: string, settings: Partial<TemplatesOptions> = {}): Templates =>
    createTemplates(createMemoryHost({ confinement: undefined, emulators: { x86_64: emulator } }), {
      owner: "me",
      logFolder: folder,
      runtimeFolder: folder,
      agentTimeoutMs: 1000,
      store,
      use: createTemplateUse(join(folder, name, "templates.json")),
      trust: createTemplateTrust(join(folder, name, "template-doubts.json")),
      freeze,
      freeBytes: async () => our.freeBytes,
      cloningRefusalPath: join(folder, "cloning.json"),
      usual: { vcpus: 1, memoryBytes: GiB },
      budgetBytes: GiB,
      ...settings,
    });

  const freeze: typeof makeTemplate = async (_host, { shape, metadata }, _options, onStep) => {
    const { vcpus, room } = shape;
    our.frozen.push(`${vcpus} ${vcpus === 1 ? "cpu" : "cpus"}${room === undefined ? "" : " with room"}`);
    const { failure } = our;
    our.failure = undefined;
    if (failure !== undefined) throw failure;
    await our.freezing?.(onStep);
    const template = templateOf(metadata, shape);
    our.there.set(metadata.key, template);
    return template;
  };

  const store: TemplateStore = {
    async open(key) {
      const template = our.there.get(key);
      return template === undefined ? undefined : { template, state: Buffer.alloc(0) };
    },
    list: async () => [],
    remove: async () => "absent",
    removeDamaged: async () => our.damage,
    async discard({ key }) {
      if (our.isBusy) throw new Error("the pool is busy");
      our.there.delete(key);
    },
    keepWithin: async () => undefined,
  };

  const our: ImaginedTemplates = {
    templates: open("state"),
    frozen: [],
    failure: undefined,
    there: new Map(),
    freeBytes: 1024 * GiB,
    damage: undefined,
    freezing: undefined,
    isBusy: false,
    other: () => open("other"),
    async restart(settings) {
      await our.templates.close();
      our.templates = open("state", settings);
    },
    async ask(vcpus, memoryBytes = GiB, { now, of = our.templates, onStep = () => undefined } = {}) {
      const shape: MachineShape = { architecture: "x86_64", accelerator: "tcg", vcpus, memoryBytes };
      const request = { image, type: "shell" as const, preparedDisk: "prepared.qcow2", shape };
      const context = { signal: AbortSignal.timeout(60_000), onStep };
      const reason = await of.obstacle("x86_64", context.signal);
      if (reason !== undefined) return { template: undefined, reason };
      return of.wayFor(request, context, now === undefined ? {} : { now });
    },
    async asked(...request) {
      const way = await our.ask(...request);
      if (way.template === undefined) return `boots: ${way.reason}`;
      return way.growth === undefined ? "clone" : `clone, ${way.growth.vcpus} cpus more`;
    },
    async made() {
      const { template } = await our.ask(1);
      if (template === undefined) throw new Error("there is no template");
      return template;
    },
    async untilMade(count) {
      await expect.poll(() => our.there.size).toBe(count);
    },
    async [Symbol.asyncDispose]() {
      await our.templates.close();
      await rm(folder, { recursive: true });
    },
  };
  return our;
}

function templateOf({ key, build }: PreparationMetadata, shape: MachineShape): Template {
  const files = templateFiles(key, build);
  const stamp = { sizeBytes: 0, inode: "1", modified: "0", changed: "0" };
  const stamps = { disk: stamp, ram: stamp, state: stamp, blank: stamp };
  const details = { ...shape, type: "shell" as const, preparedDisk: "prepared.qcow2", stamps };
  const { fingerprint, reference } = image;
  const marker = { disk: files.disk, fingerprint, reference, createdAt: "now", template: details };
  return { key, build, files, marker };
}
