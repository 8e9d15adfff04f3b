/** What every backend promises, whatever it is made of. A backend's own test file calls this with a way to set it up. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type { Step } from "../../src/core/step.ts";
import { connectAgent } from "../../src/agent/index.ts";
import type { AgentSession } from "../../src/agent/types.ts";
import { isPausable, isResettable } from "../../src/backends/abilities.ts";
import type { Backend, MachineSpec } from "../../src/backends/backend.ts";

export interface ContractSetup {
  /** What it can beyond the contract: said here, so that no test is left out that should have run. */
  abilities: { pause: boolean; reset: boolean };
  /** A backend that is connected anew, as after a restart of the daemon. */
  open: () => Backend | Promise<Backend>;
  /** The same kind of backend, of another state folder. */
  openElsewhere: () => Backend | Promise<Backend>;
  /** A machine that this backend can make; the suite fills in id, mounts and the like. */
  spec: Omit<MachineSpec, "id" | "name" | "mounts">;
  /** Names of everything that exists on the host now because of machines: files, domains, processes. */
  census: () => Promise<string[]>;
  bootTimeoutMs: number;
}

const id = "sb-c0de0001";
/** How long what ran the machine may take to notice that it has ended: libvirt a fifth of a second. */
export const noticeMs = 10_000;

export function backendContract(
  name: string,
  { abilities, open, openElsewhere, spec, census, bootTimeoutMs }: ContractSetup,
): void {
  const signal = AbortSignal.timeout(4 * bootTimeoutMs);
  const steps: Step[] = [];
  const context = { signal, onStep: (step: Step) => void steps.push(step) };

  describe(`backend ${name}`, { timeout: 2 * bootTimeoutMs }, () => {
    let backend: Backend;
    let folder: string;
    let before: string[];
    let whole: MachineSpec;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "heyvm-contract-"));
      await writeFile(join(folder, "from-host"), "host's\n");
      backend = await open();
      const { hostPath, ...mount } = { hostPath: folder, guestPath: "/mnt/rw", readOnly: false };
      whole = {
        ...spec,
        id,
        name: `the contract's "machine" <&>`,
        mounts: [
          { hostPath, ...mount },
          { hostPath, guestPath: "/mnt/ro", readOnly: true },
        ],
      };
    });
    afterAll(async () => {
      await backend.destroy(id, AbortSignal.timeout(60_000));
      await backend.close();
      await rm(folder, { recursive: true });
    });

    test("it can make machines here, or the suite has no point", async () => {
      expect(await backend.availability(signal)).toMatchObject({ available: true });
      expect(await backend.status(id, signal)).toEqual({ id, state: "absent" });
    });

    test("a created machine runs, its agent answers and its mounts are live", async () => {
      const started = await backend.create(whole, context);
      before = await census();
      expect(await backend.status(id, signal)).toMatchObject({ id, state: "running" });
      expect(steps.some(({ state }) => state === "done")).toBe(true);
      await using agent = await connect(backend, signal, bootTimeoutMs);
      expect(await run(agent, "echo hello; cat /proc/sys/kernel/ostype")).toBe("hello\nLinux\n");
      for (const { tag, guestPath, readOnly } of started.guestMounts)
        await agent.mount(tag, guestPath, { readOnly });
      expect(
        await run(agent, "cat /mnt/rw/from-host; echo guest > /mnt/rw/from-guest; ln -s x /mnt/rw/link"),
      ).toBe("host's\n");
      // Readable and ours on the host.
      expect(await readFile(join(folder, "from-guest"), "utf8")).toBe("guest\n");
      expect((await stat(join(folder, "from-guest"))).uid).toBe(process.getuid?.());
      // The host enforces it: remounting inside does not help.
      const attack = "mount -o remount,rw /mnt/ro; echo evil > /mnt/ro/evil; rm -f /mnt/ro/from-host";
      await run(agent, `${attack}; true`);
      expect((await readdir(folder)).toSorted()).toEqual(["from-guest", "from-host", "link"]);
      const kibibytes = Number(await run(agent, "df -k --output=size / | tail -1"));
      expect(kibibytes * 1024).toBeGreaterThan((spec.diskBytes ?? 0) * 0.9);
      await run(agent, "echo kept > /workspace/file && sync");
    });

    test("a backend opened anew knows the machine and can reach it", async () => {
      await backend.close();
      backend = await open();
      expect(await backend.list(signal)).toEqual([expect.objectContaining({ id, state: "running" })]);
      await using agent = await connect(backend, signal, bootTimeoutMs);
      expect(await run(agent, "cat /workspace/file")).toBe("kept\n");
    });

    test("another state folder's backend neither sees the machine nor ends it", async () => {
      const other = await openElsewhere();
      try {
        expect(await other.list(signal)).toEqual([]);
        await other.stop(id, signal);
        await other.destroy(id, signal);
        await other.prune(signal, { keepIds: new Set(), everything: false, onWarning: () => undefined });
      } finally {
        await other.close();
      }
      expect(await backend.status(id, signal)).toMatchObject({ state: "running" });
    });

    test("a prune leaves what is to be kept", async () => {
      await backend.prune(signal, { keepIds: new Set([id]), everything: false, onWarning: () => undefined });
      expect(await backend.status(id, signal)).toMatchObject({ state: "running" });
      await using agent = await connect(backend, signal, bootTimeoutMs);
      expect(await run(agent, "cat /workspace/file")).toBe("kept\n");
    });

    test("a start that a missing folder would fail is refused beforehand, and the machine runs on", async () => {
      const missing = { hostPath: join(folder, "missing"), guestPath: "/mnt/missing", readOnly: true };
      const impossible = { ...whole, mounts: [...whole.mounts, missing] };
      await expect(backend.checkStart(impossible, signal)).rejects.toThrow(missing.hostPath);
      await backend.checkStart(whole, signal);
      expect(await backend.status(id, signal)).toMatchObject({ state: "running" });
    });

    test("it can beyond the contract what is said of it", () => {
      expect({ pause: isPausable(backend), reset: isResettable(backend) }).toEqual(abilities);
    });

    test("a paused machine holds still and goes on", async (task) => {
      task.skip(!isPausable(backend), "this backend cannot pause");
      if (!isPausable(backend)) return;
      await backend.pause(id, signal);
      expect(await backend.status(id, signal)).toMatchObject({ state: "paused" });
      await backend.resume(id, signal);
      expect(await backend.status(id, signal)).toMatchObject({ state: "running" });
      await using agent = await connect(backend, signal, bootTimeoutMs);
      expect(await run(agent, "echo still here")).toBe("still here\n");
    });

    test("what the machine printed on its console can be read", async () => {
      expect((await backend.readConsole(id, 4096, signal)).length).toBeLessThanOrEqual(4096);
    });

    test("a guest that was reset is told to the watcher", async (task) => {
      task.skip(!isResettable(backend), "this backend's machines have no reset button");
      if (!isResettable(backend)) return;
      const rebooted = new Promise<void>((resolve) => {
        const unwatch = backend.watch((status) => {
          if (status.id !== id || status.rebooted !== true) return;
          unwatch();
          resolve();
        });
      });
      await backend.reset(id, signal);
      await rebooted;
      expect(await backend.status(id, signal)).toMatchObject({ state: "running" });
    });

    test("a stopped machine is told to the watcher, and starts again with its files", async () => {
      const stopped = new Promise<string>((resolve) => {
        const unwatch = backend.watch((status) => {
          if (status.id !== id || status.state !== "stopped") return;
          unwatch();
          resolve(status.state);
        });
      });
      await backend.stop(id, signal);
      await backend.stop(id, signal);
      expect(await stopped).toBe("stopped");
      expect(await backend.status(id, signal)).toMatchObject({ state: "stopped" });
      await backend.start(whole, context);
      await using agent = await connect(backend, signal, bootTimeoutMs);
      expect(await run(agent, "cat /workspace/file")).toBe("kept\n");
    });

    test("a destroyed machine leaves nothing, and destroying it again is no error", async () => {
      await backend.destroy(id, signal);
      await backend.destroy(id, signal);
      expect(await backend.status(id, signal)).toEqual({ id, state: "absent" });
      expect(await backend.list(signal)).toEqual([]);
      const more = async () => (await census()).filter((name) => name.includes(id) || !before.includes(name));
      await expect.poll(more, { timeout: noticeMs }).toEqual([]);
    });

    test("a create that is cancelled while the machine starts leaves nothing", async () => {
      const abort = new AbortController();
      const counted = await census();
      const create = backend.create(whole, {
        signal: abort.signal,
        onStep: ({ id, state }) => {
          if (id === "machine" && state === "started") setTimeout(() => abort.abort(), 100);
        },
      });
      await expect(create).rejects.toMatchObject({ code: "aborted" });
      await expect.poll(census, { timeout: noticeMs }).toEqual(counted);
    });
  });
}

function connect(backend: Backend, signal: AbortSignal, timeoutMs: number): Promise<AgentSession> {
  return connectAgent((signal) => backend.openChannel(id, signal), { signal, timeoutMs });
}

/** Runs a script in the guest and answers its standard output; fails when it fails. */
async function run(agent: AgentSession, script: string): Promise<string> {
  const command = await agent.exec({ argv: ["sh", "-c", script], timeoutMs: 60_000 });
  command.stdin.end();
  const [stdout, stderr, exit] = await Promise.all([
    text(command.stdout),
    text(command.stderr),
    command.exit,
  ]);
  expect({ ...exit, stderr }).toMatchObject({ code: 0 });
  return stdout;
}
