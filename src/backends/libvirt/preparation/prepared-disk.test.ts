import { expect, test } from "vitest";

import type { Step } from "../../../core/step.ts";
import type { Image } from "../../../images/image.ts";
import type { SandboxType } from "../../../config/machine-kinds.ts";
import type { PreparationOptions, prepareGuest } from "./preparation.ts";
import { createPreparedDisks } from "./prepared-disk.ts";
import { createMemoryHost, type MemoryHost } from "../testing/memory-host.ts";

const { signal } = new AbortController();

const image: Image = {
  reference: "debian:12",
  path: "/images/debian.qcow2",
  format: "qcow2",
  virtualSizeBytes: 3 * 1024 ** 3,
  fingerprint: "sha256:aa",
  architecture: "x86_64",
};

const options: PreparationOptions = {
  owner: "me",
  runtimeFolder: "/nowhere",
  logFolder: "/nowhere",
  accelerator: async () => "tcg",
  agentTimeoutMs: 1000,
};

/** Prepared disks whose guests have these types' runtimes from the start, and each the one that it was made for. */
function setUp(has: readonly SandboxType[], host: MemoryHost = createMemoryHost()) {
  const made: SandboxType[] = [];
  let failNext = false;
  const makeGuest: typeof prepareGuest = async (host, { source, type, disk }, _options, publish, signal) => {
    made.push(type);
    const storage = await host.storage(signal);
    await storage.createOverlay(disk, source, 1, signal);
    await new Promise((resolve) => setImmediate(resolve));
    if (failNext) {
      failNext = false;
      throw new Error("planted failure");
    }
    return publish([...new Set<SandboxType>(["shell", type, ...has])]);
  };
  const steps: Step[] = [];
  const disks = createPreparedDisks(host, options, makeGuest);
  return {
    made,
    steps,
    host,
    failNext: () => void (failNext = true),
    ensure: (type: SandboxType, of: Image = image, by: AbortSignal = signal) =>
      disks.ensure(of, type, { signal: by, onStep: (step) => void steps.push(step) }),
  };
}

test("a disk serves every type that works on it", async () => {
  const { made, ensure } = setUp(["python"]);
  const disk = await ensure("shell");
  expect(await ensure("python")).toBe(disk);
  expect(made).toEqual(["shell"]);
  const other = await ensure("node");
  expect(other).not.toBe(disk);
  expect(await ensure("shell")).toBe(disk);
  expect(await ensure("node")).toBe(other);
  expect(made).toEqual(["shell", "node"]);
});

test("every disk serves a plain shell", async () => {
  const { made, ensure } = setUp([]);
  const disk = await ensure("node");
  expect(await ensure("shell")).toBe(disk);
  expect(made).toEqual(["node"]);
});

test("many who ask at once for several types of an image get one preparation, and are told what they wait for", async () => {
  const { made, ensure, steps } = setUp(["python", "node"]);
  const types: SandboxType[] = ["python", "shell", "node", "python", "node", "shell"];
  const disks = await Promise.all(types.map((type) => ensure(type)));
  expect(new Set(disks).size).toBe(1);
  expect(made).toHaveLength(1);
  const waits = steps.filter(({ id }) => id === "prepare-turn").map(({ state }) => state);
  expect(waits.filter((state) => state === "done")).toHaveLength(
    waits.filter((state) => state === "started").length,
  );
  expect(waits).toContain("done");
});

test("a preparation that fails is no other type's failure", async () => {
  const { made, ensure, failNext } = setUp(["python", "node"]);
  failNext();
  const [shell, python] = await Promise.allSettled([ensure("shell"), ensure("python")]);
  expect(made).toHaveLength(2);
  expect([shell.status, python.status].toSorted()).toEqual(["fulfilled", "rejected"]);
});

test("one who no longer wants to wait for another type's preparation leaves it going", async () => {
  const { made, ensure } = setUp([]);
  const leaver = new AbortController();
  const stays = ensure("shell");
  const leaves = ensure("python", image, leaver.signal);
  leaver.abort();
  await expect(leaves).rejects.toMatchObject({ code: "aborted" });
  await stays;
  expect(made).toEqual(["shell"]);
});

test("another image, and a disk that somebody removed, are prepared anew", async () => {
  const { made, ensure, host } = setUp(["python"]);
  const disk = await ensure("shell");
  expect(await ensure("python", { ...image, fingerprint: "sha256:bb" })).not.toBe(disk);
  host.volumes.delete(disk);
  expect(await ensure("python")).not.toBe(disk);
  expect(made).toEqual(["shell", "python", "python"]);
});
