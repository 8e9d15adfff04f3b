import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

import { createBackendOn } from "./libvirt-backend.ts";
import { createMemoryHost } from "./testing/memory-host.ts";
import { testMachine } from "./testing/test-machine.ts";

const stateFolder = await mkdtemp(join(tmpdir(), "heyvm-backend-"));
afterAll(() => rm(stateFolder, { recursive: true }));

const signal = new AbortController().signal;

test("a machine whose host has no room for what it writes is paused, with the reason; one that crashed has failed", async () => {
  const host = createMemoryHost();
  host.volumes.set("sb-0000000a.qcow2", {});
  const backend = createBackendOn(host, { uri: host.uri, stateFolder, ownership: { owner: "id" } });
  await backend.start(testMachine, { signal, onStep: () => undefined });
  const machine = host.machines.get("heyvm-sb-0000000a");
  if (machine === undefined) throw new Error("no machine");
  Object.assign(machine, { state: "failed", reason: "no room", code: "disk_full" });
  expect(await backend.status(testMachine.id, signal)).toEqual({
    id: testMachine.id,
    state: "paused",
    reason: "no room",
    code: "disk_full",
  });
  Object.assign(machine, { reason: "the guest crashed", code: undefined });
  expect(await backend.status(testMachine.id, signal)).toMatchObject({
    state: "failed",
    reason: "the guest crashed",
  });
});
