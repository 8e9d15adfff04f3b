import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import type { MountTeller } from "../backends/abilities.ts";
import type { Backend } from "../backends/backend.ts";
import { unsupportedBackend } from "../backends/unsupported-backend.ts";
import { HeyvmError } from "../errors/index.ts";
import { sandboxPaths, statePaths } from "../config/paths.ts";
import type { SandboxContext } from "./context.ts";
import { createDeadlines } from "./deadlines.ts";
import { createRecordStore } from "./record-store.ts";
import { createSandboxRegistry } from "./registry.ts";
import { removeSandbox } from "./remove.ts";
import { createSessionHolder } from "./sessions.ts";

const id = "sb-0123abcd";
const { signal } = new AbortController();

/** The one sandbox of a state folder, whose record cannot be read, beside two libvirts of which the first is away. */
async function damagedBesideTwo({ firstFails = false } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "hv-remove-"));
  onTestFinished(async () => await rm(folder, { recursive: true }));
  const state = statePaths(folder);
  await mkdir(sandboxPaths(state, id).folder, { recursive: true });
  await writeFile(sandboxPaths(state, id).record, "{");
  const records = createRecordStore(state);
  const registry = createSandboxRegistry();
  const [loaded] = await records.load();
  if (loaded === undefined) throw new Error("there is no record");
  const session = createSessionHolder(async () => await Promise.reject(new Error("no agent")));
  const sandbox = registry.add(loaded.record, session, { damaged: loaded.damaged });

  const destroyed: string[] = [];
  const libvirt = (name: string, available: boolean, fails: boolean): Backend & MountTeller => ({
    ...unsupportedBackend({ name: "libvirt", description: name, usesImages: true, takesUri: true }),
    availability: async () => await Promise.resolve({ available, reason: `${name} is away` }),
    async destroy() {
      await Promise.resolve();
      if (fails) throw new HeyvmError("backend_unavailable", `${name} has just left`);
      destroyed.push(name);
    },
    mountedMachines: async () => await Promise.resolve([]),
  });
  const backends = [libvirt("first", firstFails, firstFails), libvirt("second", true, false)];
  const deadlines = createDeadlines(() => {});
  onTestFinished(() => deadlines.close());
  const context = {
    records,
    registry,
    deadlines,
    backends: { opened: () => backends.map((backend) => ({ backend, uri: undefined })) },
    log: { info: () => {} },
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a removal touches nothing else
  return { context: context as unknown as SandboxContext, sandbox, destroyed };
}

test("of one whose record is damaged all goes that can, and it stays while a backend is away that may have the rest", async () => {
  const { context, sandbox, destroyed } = await damagedBesideTwo();
  await expect(removeSandbox(context, sandbox, { signal })).rejects.toMatchObject({
    code: "backend_unavailable",
    message: expect.stringContaining("first is away"),
    hint: expect.stringContaining(`heyvm rm --forget ${id}`),
  });
  expect(destroyed).toEqual(["second"]);
  expect(context.registry.find(id)).toBe(sandbox);
});

test("one whose record is damaged is forgotten where its backend is away, and removed where it is not", async () => {
  const { context, sandbox, destroyed } = await damagedBesideTwo();
  expect(await removeSandbox(context, sandbox, { signal, forget: true })).toEqual({ forgotten: true });
  expect(destroyed).toEqual(["second"]);
  expect(await context.records.load()).toEqual([]);
});

test("one whose backend leaves while it is removed keeps nothing of it in the others", async () => {
  const { context, sandbox, destroyed } = await damagedBesideTwo({ firstFails: true });
  expect(await removeSandbox(context, sandbox, { signal, forget: true })).toEqual({ forgotten: true });
  expect(destroyed).toEqual(["second"]);
});
