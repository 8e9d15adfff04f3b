import { mkdir, mkdtemp, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, onTestFinished, test } from "vitest";

import type { MachineSpec } from "../../backend.ts";
import { createDeferred } from "../../../core/deferred.ts";
import { createTurns } from "./turns.ts";
import { createMachine, destroyMachine, startMachine, stopMachine } from "./machine.ts";
import { imagesInUse, ownMachines, prune } from "../storage/prune.ts";
import { createShells } from "../template/shells.ts";
import { templateFiles } from "../template/template-files.ts";
import type { MachineShape } from "../template/template-key.ts";
import type { Templates, Way } from "../template/templates.ts";
import { createMemoryHost, type MemoryHost } from "../testing/memory-host.ts";
import { testMachine } from "../testing/test-machine.ts";

const folder = await mkdtemp(join(tmpdir(), "heyvm-machine-"));
afterAll(() => rm(folder, { recursive: true }));

const signal = new AbortController().signal;
const context = { signal, onStep: () => undefined };
const onWarning = (): void => undefined;
const key = "0123456789abcdef";
const preparedDisk = `prepared-${key}-00000001.qcow2`;

const spec: MachineSpec = { ...testMachine, cpus: 0.5 };

const noTemplates: Templates = {
  obstacle: async () => undefined,
  wayFor: async () => ({ template: undefined, reason: "not in memory" }),
  isProven: () => true,
  reportSuccess: async () => undefined,
  reportFailure: async () => undefined,
  doubts: async () => [],
  list: async () => [],
  remove: async () => "absent",
  close: () => Promise.resolve(),
  building: new Set(),
};

function failIfWaiting(): void {
  throw new Error("it has to wait");
}

/** A template that somebody removes in the moment in which it is to be used: there is no marker. */
function lostWay(): Way {
  const files = templateFiles(key, "00000002");
  const stamp = { sizeBytes: 0, inode: "1", modified: "0", changed: "0" };
  const shape: MachineShape = { architecture: "x86_64", accelerator: "tcg", vcpus: 1, memoryBytes: 2 ** 30 };
  const stamps = { disk: stamp, ram: stamp, state: stamp, blank: stamp };
  const details = { ...shape, type: "shell" as const, preparedDisk, stamps };
  const marker = {
    disk: files.disk,
    fingerprint: "",
    reference: "debian:12",
    createdAt: "",
    template: details,
  };
  const template = { key, build: "00000002", files, marker };
  return { template, state: Buffer.alloc(0), shape, growth: undefined };
}

function setUp(host: MemoryHost, owner = "me") {
  const marker = { disk: preparedDisk, fingerprint: "sha256:aa", reference: "debian:12", createdAt: "now" };
  host.volumes.set(preparedDisk, { backing: "/images/debian.qcow2" });
  host.volumes.set(`prepared-${key}.json`, { content: Buffer.from(JSON.stringify(marker)) });
  const prepared = { ensure: async () => preparedDisk, building: new Set<string>() };
  return {
    host,
    prepared,
    templates: noTemplates,
    shells: createShells(host, { owner, perTemplate: 0 }),
    turns: createTurns(2, 60_000),
    settings: { owner, kvmVerdictPath: join(folder, "kvm.json"), runtimeFolder: join(folder, "net") },
  };
}

test("a machine is made of a domain and an overlay on the prepared disk, and leaves nothing when destroyed", async () => {
  const dependencies = setUp(createMemoryHost());
  const { host } = dependencies;
  const before = new Set(host.volumes.keys());
  const started = await createMachine(dependencies, spec, context);
  expect(started.warnings.join()).toContain("software emulation");
  expect(host.volumes.get("sb-0000000a.qcow2")).toEqual({ backing: `/pool/${preparedDisk}` });
  expect(host.machines.get("heyvm-sb-0000000a")?.state).toBe("running");
  host.volumes.set("sb-0000000a.console.log", {});
  host.volumes.set("sb-0000000a.console.log.0", {});
  await destroyMachine(dependencies, spec.id, signal);
  await destroyMachine(dependencies, spec.id, signal);
  expect(new Set(host.volumes.keys())).toEqual(before);
  expect(host.machines.size).toBe(0);
});

test.each(["define", "overlay", "start"])("a create that fails at %s leaves nothing", async (failOn) => {
  const dependencies = setUp(createMemoryHost());
  const { host } = dependencies;
  const before = new Set(host.volumes.keys());
  host.failOn = failOn;
  await expect(createMachine(dependencies, spec, context)).rejects.toThrow("planted failure");
  expect(new Set(host.volumes.keys())).toEqual(before);
  expect(host.machines.size).toBe(0);
});

test("what may have changed while a disk was prepared is looked at before anything is made", async () => {
  const dependencies = setUp(createMemoryHost());
  const { host } = dependencies;
  const before = new Set(host.volumes.keys());
  const done: string[] = [];
  dependencies.prepared.ensure = async () => {
    done.push("prepared");
    return await Promise.resolve(preparedDisk);
  };
  const lastLook = async (): Promise<void> => {
    done.push("looked");
    await Promise.reject(new Error("another one may put links there"));
  };
  await expect(createMachine(dependencies, spec, { ...context, lastLook })).rejects.toThrow("put links");
  expect(done).toEqual(["prepared", "looked"]);
  expect(new Set(host.volumes.keys())).toEqual(before);
  expect(host.machines.size).toBe(0);
});

test("one that is to boot boots, and says why, whatever there is to clone", async () => {
  const dependencies = setUp(createMemoryHost());
  let asked = 0;
  const wayFor: Templates["wayFor"] = async (...request) => {
    asked += 1;
    return await noTemplates.wayFor(...request);
  };
  dependencies.templates = { ...noTemplates, wayFor };
  const titles: string[] = [];
  const onStep = ({ title }: { title: string }): void => void titles.push(title);
  const { start } = await createMachine(dependencies, spec, { signal, onStep, boot: "that was asked for" });
  expect(start).toEqual({ how: "booted", reason: "that was asked for" });
  expect(titles).toContain(`Starting the machine (it boots: ${start.reason})`);
  expect(asked, "a template, which would be made").toBe(0);
});

test("one whose clone cannot be launched boots, says why, and its template is not the one to blame", async () => {
  const dependencies = setUp(createMemoryHost());
  const blamed: string[] = [];
  dependencies.templates = {
    ...noTemplates,
    wayFor: async () => lostWay(),
    reportFailure: async (_template, reason) => void blamed.push(reason),
  };
  const { start, clone } = await createMachine(dependencies, spec, context);
  expect(start).toMatchObject({ how: "booted", reason: expect.stringContaining("it was removed") });
  expect({ clone, blamed }).toEqual({ clone: undefined, blamed: [] });
  expect(dependencies.host.machines.get("heyvm-sb-0000000a")?.state).toBe("running");
  await destroyMachine(dependencies, spec.id, signal);
});

test("of many clones only so many start at once; the others wait, say so, and leave nothing when they give up", async () => {
  const host = createMemoryHost();
  const dependencies = { ...setUp(host), turns: createTurns(1, 60_000) };
  dependencies.templates = { ...noTemplates, wayFor: async () => lostWay() };
  await dependencies.turns.take("sb-0000000b", context);
  const waits = createDeferred<void>();
  const titles: string[] = [];
  const onStep = ({ id, title }: { id: string; title: string }): void => {
    titles.push(title);
    if (id === "turn") waits.resolve();
  };
  const [abort, before] = [new AbortController(), new Set(host.volumes.keys())];
  const givenUp = createMachine(dependencies, spec, { signal: abort.signal, onStep });
  await waits.promise;
  abort.abort();
  await expect(givenUp).rejects.toMatchObject({ code: "aborted" });
  expect(titles).toEqual(["Waiting for other machines to start"]);
  expect({ volumes: new Set(host.volumes.keys()), machines: host.machines.size }).toEqual({
    volumes: before,
    machines: 0,
  });

  const late = createMachine(dependencies, spec, context);
  // Whatever ends a machine ends its turn.
  await destroyMachine(dependencies, "sb-0000000b", signal);
  expect((await late).start).toMatchObject({ how: "booted" });
  // And it is over when it is known to boot: who comes next does not wait.
  await dependencies.turns.take("sb-0000000c", { signal, onStep: failIfWaiting });
  await destroyMachine(dependencies, spec.id, signal);
});

test("a create that is cancelled while it prepares leaves nothing and says so", async () => {
  const host = createMemoryHost();
  const abort = new AbortController();
  const dependencies = setUp(host);
  dependencies.prepared.ensure = async () => {
    abort.abort();
    return preparedDisk;
  };
  const create = createMachine(dependencies, spec, { signal: abort.signal, onStep: () => undefined });
  await expect(create).rejects.toMatchObject({ code: "aborted" });
  expect(host.machines.size).toBe(0);
});

test("a machine that exists under the same id is left alone", async () => {
  const host = createMemoryHost();
  await createMachine(setUp(host, "you"), spec, context);
  await expect(createMachine(setUp(host, "me"), spec, context)).rejects.toMatchObject({
    code: "wrong_state",
  });
  expect(host.machines.get("heyvm-sb-0000000a")?.state).toBe("running");
});

test("a stopped machine keeps its disk and starts again with the mounts it has by then", async () => {
  const dependencies = setUp(createMemoryHost());
  const { host } = dependencies;
  await createMachine(dependencies, spec, context);
  await stopMachine(dependencies, spec.id, signal);
  expect(host.machines.get("heyvm-sb-0000000a")?.state).toBe("off");
  const mounts = [{ hostPath: "/srv", guestPath: "/data", readOnly: true }];
  const started = await startMachine(dependencies, { ...spec, mounts }, context);
  expect(started.guestMounts).toEqual([{ tag: "mount0", guestPath: "/data", readOnly: true }]);
  expect(host.machines.get("heyvm-sb-0000000a")?.xml).toContain("/srv");
});

test.each<[string, Partial<MachineSpec>, Record<string, unknown>]>([
  ["more memory than the host has", { memoryBytes: 10e12 }, { details: { field: "memory" } }],
  ["a disk smaller than the image", { diskBytes: 1024 ** 3 }, { details: { field: "disk" } }],
  ["no image", { image: undefined }, { details: { field: "image" } }],
  [
    "a mount that XML cannot express",
    { mounts: [{ hostPath: "/a\nb", guestPath: "/b", readOnly: false }] },
    { details: { field: "mount" } },
  ],
])("%s is refused before anything is made", async (_, change, error) => {
  const dependencies = setUp(createMemoryHost());
  const create = createMachine(dependencies, { ...spec, ...change }, context);
  await expect(create).rejects.toMatchObject({ code: "invalid_argument", ...error });
  expect(dependencies.host.calls.filter((call) => /^(define|overlay|file)/.test(call))).toEqual([]);
});

test("a folder that QEMU's own user cannot reach is refused with the place and the remedy", async () => {
  const dependencies = setUp(createMemoryHost({ qemuAccount: { uid: 54321, gid: 54321 } }));
  const mounts = [{ hostPath: folder, guestPath: "/x", readOnly: false }];
  const create = createMachine(dependencies, { ...spec, mounts }, context);
  // mkdtemp makes folders that only their owner may enter.
  await expect(create).rejects.toMatchObject({ code: "permission_denied", details: { blocked_at: folder } });
});

test.each<[string, (path: string) => Promise<unknown>, string, string]>([
  ["a link", async (path) => await symlink("/", path), "permission_denied", "leads to / now"],
  ["a loop of links", async (path) => await symlink(path, path), "permission_denied", "ELOOP"],
  ["a file", async (path) => await writeFile(path, ""), "permission_denied", "it is no folder"],
  ["nothing", async () => {}, "path_not_found", "is gone"],
])("a folder that is %s since it was checked is not mounted", async (_what, replace, code, reason) => {
  const dependencies = setUp(createMemoryHost());
  const hostPath = join(folder, "project");
  await mkdir(hostPath);
  const withMount = { ...spec, mounts: [{ hostPath, guestPath: "/x", readOnly: false }] };
  await createMachine(dependencies, withMount, context);
  await stopMachine(dependencies, spec.id, signal);
  await rmdir(hostPath);
  await replace(hostPath);
  onTestFinished(async () => await rm(hostPath, { force: true }));
  const refused = { code, message: expect.stringContaining(reason), details: { host_path: hostPath } };
  await expect(startMachine(dependencies, withMount, context)).rejects.toMatchObject(refused);
  expect(dependencies.host.machines.get("heyvm-sb-0000000a")?.state).toBe("off");
});

test("an image of an architecture without a QEMU is refused", async () => {
  const dependencies = setUp(createMemoryHost({ accelerators: {} }));
  await expect(createMachine(dependencies, spec, context)).rejects.toMatchObject({
    code: "backend_unavailable",
  });
  expect(dependencies.host.machines.size).toBe(0);
});

test("two owners of one libvirt do not see each other's machines, but each other's images", async () => {
  const host = createMemoryHost();
  await createMachine(setUp(host, "me"), spec, context);
  await createMachine(setUp(host, "you"), { ...spec, id: "sb-0000000b" }, context);
  expect(await ownMachines(host, { owner: "me" }, signal)).toEqual(["sb-0000000a"]);
  expect(await imagesInUse(host, signal)).toEqual(new Set(["sha256:aa"]));
  await prune(setUp(host, "me"), signal, { keepIds: new Set(), everything: true, onWarning });
  expect([...host.machines.keys()]).toEqual(["heyvm-sb-0000000b"]);
  expect(host.volumes.has(preparedDisk)).toBe(true);
});

test("prune keeps prepared disks unless everything is to go, and removes what crashes left", async () => {
  const dependencies = setUp(createMemoryHost());
  const { host } = dependencies;
  host.volumes.set("prepared-0123456789abcdef-00000002.qcow2", { backing: "/images/debian.qcow2" });
  host.volumes.set("prepared-0123456789abcdef-00000003.qcow2", {});
  dependencies.prepared.building.add("00000003");
  host.volumes.set("sb-deadbeef.seed.iso", {});
  host.volumes.set("somebody-elses.qcow2", {});
  expect(await prune(dependencies, signal, { keepIds: new Set(), everything: false, onWarning })).toEqual([
    "sb-deadbeef.seed.iso",
    "prepared-0123456789abcdef-00000002.qcow2",
  ]);
  expect(await prune(dependencies, signal, { keepIds: new Set(), everything: true, onWarning })).toEqual([
    "prepared-0123456789abcdef.json",
    preparedDisk,
  ]);
  expect([...host.volumes.keys()]).toEqual([
    "prepared-0123456789abcdef-00000003.qcow2",
    "somebody-elses.qcow2",
  ]);
});

test.each([
  ["the session that it is of", { qemuAccount: undefined }, ["network of sb-0000000f"]],
  ["a libvirt that has none", { qemuAccount: { uid: 54321, gid: 54321 } }, []],
])("a network without a machine goes with the prune of %s", async (_which, capabilities, removed) => {
  const dependencies = setUp(createMemoryHost(capabilities));
  const { runtimeFolder } = dependencies.settings;
  await mkdir(runtimeFolder, { recursive: true });
  await writeFile(join(runtimeFolder, "sb-0000000f.pid"), "");
  onTestFinished(async () => await rm(runtimeFolder, { recursive: true }));
  expect(await prune(dependencies, signal, { keepIds: new Set(), everything: false, onWarning })).toEqual(
    removed,
  );
});
