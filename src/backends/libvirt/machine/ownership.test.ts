import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";

import { readMetadata } from "../domain/domain-metadata.ts";
import { createBackendOn } from "../libvirt-backend.ts";
import { createMemoryHost, type MemoryHost } from "../testing/memory-host.ts";
import { testMachine } from "../testing/test-machine.ts";

const stateFolder = await mkdtemp(join(tmpdir(), "heyvm-ownership-"));
afterAll(() => rm(stateFolder, { recursive: true }));

const signal = new AbortController().signal;
const context = { signal, onStep: () => undefined };
const domain = "heyvm-sb-0000000a";
const spec = testMachine;
const none = { keepIds: new Set<string>(), everything: true, onWarning: () => undefined };

let host: MemoryHost;
beforeEach(() => {
  host = createMemoryHost();
  host.volumes.set("sb-0000000a.qcow2", {});
});

function open(owner: string, formerOwner?: string) {
  return createBackendOn(host, { uri: host.uri, stateFolder, ownership: { owner, formerOwner } });
}

function machine(): { owner: string | undefined; uuid: string | undefined } {
  const xml = host.machines.get(domain)?.xml ?? "";
  return { owner: readMetadata(xml)?.owner, uuid: /<uuid>(.*)<\/uuid>/.exec(xml)?.[1] };
}

/** A machine of the version that marked machines with the names of their host and folder. */
async function makeFormerMachine(): Promise<string | undefined> {
  await open(`old-name:${stateFolder}`).start(spec, context);
  return machine().uuid;
}

test("a machine of the version before is seen, and taken over with its UUID at its next start", async () => {
  const uuid = await makeFormerMachine();
  const backend = open("id", `old-name:${stateFolder}`);
  expect(await backend.list(signal)).toEqual([{ id: spec.id, state: "running" }]);
  await backend.stop(spec.id, signal);
  await backend.start(spec, context);
  expect(machine()).toEqual({ owner: "id", uuid });
  // By now it needs no former owner.
  expect(await open("id").list(signal)).toEqual([{ id: spec.id, state: "running" }]);
});

test("a machine of the version before can be removed, and pruned when no record knows it", async () => {
  for (const remove of ["destroy", "prune"] as const) {
    host.volumes.set("sb-0000000a.qcow2", {});
    await makeFormerMachine();
    const backend = open("id", `old-name:${stateFolder}`);
    await (remove === "destroy" ? backend.destroy(spec.id, signal) : backend.prune(signal, none));
    expect({ machines: [...host.machines.keys()], volumes: [...host.volumes.keys()] }).toEqual({
      machines: [],
      volumes: [],
    });
  }
});

test("a machine of another state folder is not touched, not even by one that has a record of it", async () => {
  await open("theirs").start(spec, context);
  const before = machine();
  const backend = open("ours", `host:${stateFolder}`);
  expect(await backend.list(signal)).toEqual([]);
  expect(await backend.status(spec.id, signal)).toMatchObject({
    state: "failed",
    reason: expect.stringContaining("another state folder"),
  });
  const refused = { code: "wrong_state", message: expect.stringContaining("another state folder") };
  await expect(backend.start(spec, context)).rejects.toMatchObject(refused);
  await expect(backend.pause(spec.id, signal)).rejects.toMatchObject(refused);
  await expect(backend.resume(spec.id, signal)).rejects.toMatchObject(refused);
  await expect(backend.openChannel(spec.id, signal)).rejects.toMatchObject(refused);
  await backend.stop(spec.id, signal);
  await backend.destroy(spec.id, signal);
  await backend.prune(signal, none);
  expect(machine()).toEqual(before);
  expect(host.machines.get(domain)?.state).toBe("running");
  expect(host.volumes.has("sb-0000000a.qcow2")).toBe(true);
});

test("prune keeps the disk of a sandbox whose domain is gone: of one with a record here, and of one that may have it elsewhere", async () => {
  host.volumes.set("sb-0000000a.console.log", {});
  const warnings: string[] = [];
  const prune = async (keepIds: ReadonlySet<string>) =>
    await open("id").prune(signal, {
      keepIds,
      everything: true,
      onWarning: (message) => void warnings.push(message),
    });
  expect(await prune(new Set([spec.id]))).toEqual([]);
  expect(warnings).toEqual([]);
  expect(await prune(new Set())).toEqual([]);
  expect(warnings).toEqual([
    expect.stringMatching(
      /^kept sb-0000000a\.qcow2: .* virsh -c \S+ vol-delete --pool heyvm sb-0000000a\.qcow2$/,
    ),
  ]);
  expect([...host.volumes.keys()]).toEqual(
    expect.arrayContaining(["sb-0000000a.qcow2", "sb-0000000a.console.log"]),
  );
  host.volumes.delete("sb-0000000a.qcow2");
  expect(await prune(new Set())).toEqual(["sb-0000000a.console.log"]);
});
