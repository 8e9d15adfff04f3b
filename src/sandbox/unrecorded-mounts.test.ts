import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import type { MountTeller } from "../backends/abilities.ts";
import type { Backend } from "../backends/backend.ts";
import { unsupportedBackend } from "../backends/unsupported-backend.ts";
import { sandboxPaths, statePaths } from "../config/paths.ts";
import { createRecordStore } from "./record-store.ts";
import { createSandboxRegistry, type SandboxRegistry } from "./registry.ts";
import { checkWays } from "./replaceable-mounts.ts";
import { createSessionHolder } from "./sessions.ts";
import { unrecordedMounts } from "./unrecorded-mounts.ts";

const id = "sb-0123abcd";

/** A registry as it is after a start with this one record, which cannot be read. */
async function withDamagedRecord(): Promise<SandboxRegistry> {
  const folder = await mkdtemp(join(tmpdir(), "hv-unrecorded-"));
  onTestFinished(async () => await rm(folder, { recursive: true }));
  const state = statePaths(folder);
  await mkdir(sandboxPaths(state, id).folder, { recursive: true });
  await writeFile(sandboxPaths(state, id).record, "{");
  const registry = createSandboxRegistry();
  const session = createSessionHolder(async () => await Promise.reject(new Error("no agent")));
  for (const { record, damaged } of await createRecordStore(state).load()) {
    registry.add(record, session, { damaged });
  }
  return registry;
}

async function ask(
  registry: SandboxRegistry,
  mountedMachines: MountTeller["mountedMachines"],
  signal = new AbortController().signal,
) {
  const nothing = unsupportedBackend({
    name: "bubblewrap",
    description: "has no machines",
    usesImages: false,
    takesUri: false,
  });
  const teller: Backend & MountTeller = {
    ...unsupportedBackend({ name: "libvirt", description: "tells mounts", usesImages: true, takesUri: true }),
    mountedMachines,
  };
  const backends = { opened: () => [nothing, teller].map((backend) => ({ backend, uri: undefined })) };
  return await unrecordedMounts({ registry, backends, shutdown: new AbortController().signal }, signal);
}

const mounts = [{ hostPath: "/p", readOnly: false }];
const machine = { id, name: "box", isForeign: false, isPrunable: true, lastResort: "end it", mounts };
const away = async () => await Promise.reject(new Error("libvirt is away"));

test("a mount through another state folder's sandbox names who can stop that", async () => {
  const others = await ask(createSandboxRegistry(), async () => [
    { ...machine, name: "box", isForeign: true, isPrunable: false },
  ]);
  const below = { field: "mounts[0].host_path", path: "/p/data", resolved: "/p/data" };
  await expect(checkWays([below], [], () => others)).rejects.toMatchObject({
    message:
      'cannot mount /p/data: its way leads through /p, where sandbox "box" of another state folder may put links',
    hint: expect.stringMatching(
      /^mount \/p itself, or stop that sandbox with the state folder that made it .*; if that folder is gone: end it$/,
    ),
  });
});

test("a sandbox whose record is damaged is asked for, and none whose record is there", async () => {
  const registry = await withDamagedRecord();
  const others = await ask(registry, async (known) => {
    expect(known.has(id)).toBe(false);
    const lost = { ...machine, id: "sb-00000001", name: "lost" };
    const unmarked = { ...machine, id: "sb-00000002", isPrunable: false };
    return await Promise.resolve([machine, lost, unmarked]);
  });
  // By its id: that is its name here now.
  expect(others.map(({ name, remedy }) => [name, remedy])).toEqual([
    [id, `remove that sandbox: heyvm rm "${id}"`],
    ["sb-00000001", expect.stringMatching(/: heyvm prune; .*: end it$/)],
    ["sb-00000002", "end that machine, which no sandbox has: end it"],
  ]);
});

test("where a sandbox may run whose record is damaged and whose backend does not answer, nothing is mounted", async () => {
  await expect(ask(await withDamagedRecord(), away)).rejects.toMatchObject({
    code: "permission_denied",
    message: expect.stringMatching(/record of sandbox sb-0123abcd is damaged.*: libvirt is away$/),
    hint: "heyvm rm sb-0123abcd; if libvirt is gone for good: heyvm rm --forget sb-0123abcd",
  });
  expect(await ask(createSandboxRegistry(), away)).toEqual([]);
});

test("who gives up does not wait for a backend that does not answer", async () => {
  const leaving = new AbortController();
  const silent = async (_known: unknown, signal: AbortSignal) =>
    await new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(new Error("nobody waits")));
      leaving.abort();
    });
  await expect(ask(createSandboxRegistry(), silent, leaving.signal)).rejects.toMatchObject({
    code: "aborted",
  });
});
