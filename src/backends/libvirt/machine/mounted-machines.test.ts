import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeEach, expect, test } from "vitest";

import { createBackendOn, type LibvirtBackend } from "../libvirt-backend.ts";
import { createMemoryHost, type MemoryHost } from "../testing/memory-host.ts";
import { testMachine } from "../testing/test-machine.ts";

const stateFolder = await mkdtemp(join(tmpdir(), "heyvm-mounted-"));
afterAll(() => rm(stateFolder, { recursive: true }));

const signal = new AbortController().signal;
const none = new Set<string>();
const readable = { hostPath: stateFolder, guestPath: "/a", readOnly: true };
const writable = { hostPath: tmpdir(), guestPath: "/b", readOnly: false };

let host: MemoryHost;
beforeEach(async () => {
  host = createMemoryHost();
  await make(open("ours"), "sb-0000000a");
  await make(open("theirs"), "sb-0000000b");
});

function open(owner: string): LibvirtBackend {
  return createBackendOn(host, { uri: host.uri, stateFolder, ownership: { owner } });
}

async function make(backend: LibvirtBackend, id: string): Promise<void> {
  host.volumes.set(`${id}.qcow2`, {});
  const spec = { ...testMachine, id, name: `name of ${id}`, mounts: [readable, writable] };
  await backend.start(spec, { signal, onStep: () => undefined });
}

test("libvirt knows what machines see that no record tells of, also another state folder's", async () => {
  const mounts = [readable, writable].map(({ hostPath, readOnly }) =>
    expect.objectContaining({ hostPath, readOnly }),
  );
  const theirs = {
    id: "sb-0000000b",
    name: "name of sb-0000000b",
    isForeign: true,
    isPrunable: false,
    lastResort: `virsh -c ${host.uri} destroy heyvm-sb-0000000b`,
    mounts,
  };
  expect(await open("ours").mountedMachines(none, signal)).toEqual([
    {
      id: "sb-0000000a",
      name: "name of sb-0000000a",
      isForeign: false,
      isPrunable: true,
      lastResort: `virsh -c ${host.uri} destroy heyvm-sb-0000000a`,
      mounts,
    },
    theirs,
  ]);
  expect(await open("ours").mountedMachines(new Set(["sb-0000000a"]), signal)).toEqual([theirs]);
});

test("a machine that is off sees nothing, and another host's machines see that host's folders", async () => {
  await open("theirs").stop("sb-0000000b", signal);
  expect(await open("ours").mountedMachines(new Set(["sb-0000000a"]), signal)).toEqual([]);
  Object.assign(host, { isLocal: false });
  expect(await open("ours").mountedMachines(none, signal)).toEqual([]);
});

test("without metadata the devices of a machine tell what it sees", async () => {
  const machine = host.machines.get("heyvm-sb-0000000b");
  if (machine !== undefined) machine.xml = machine.xml.replace(/<metadata>.*<\/metadata>/s, "");
  expect(await open("ours").mountedMachines(new Set(["sb-0000000a"]), signal)).toEqual([
    {
      id: "sb-0000000b",
      name: "sb-0000000b",
      isForeign: false,
      // No mark tells whose it is.
      isPrunable: false,
      lastResort: `virsh -c ${host.uri} destroy heyvm-sb-0000000b`,
      mounts: [
        { hostPath: stateFolder, readOnly: true },
        { hostPath: tmpdir(), readOnly: false },
      ],
    },
  ]);
});
