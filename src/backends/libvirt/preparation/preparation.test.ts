import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import type { Step } from "../../../core/step.ts";
import { createFakeAgent } from "../../../agent/testing/fake-agent.ts";
import { frameKind } from "../../../agent/wire.ts";
import { installRuntimeScript, probeScripts } from "../../guest/guest-scripts.ts";
import { prepareGuest } from "./preparation.ts";
import { markOfThisProcess } from "../process-mark.ts";
import { findProgram } from "../program.ts";
import { createMemoryHost } from "../testing/memory-host.ts";

const { signal } = new AbortController();
const id = "preparing-00000001";
const domain = `heyvm-${id}`;

let folder: string;
let path: string | undefined;

beforeEach(async () => {
  // A process is taken for passt by its program's path.
  folder = await mkdtemp(join(tmpdir(), "heyvm-passt-"));
  path = process.env["PATH"];
  const bin = join(folder, "bin");
  await mkdir(bin);
  await writeFile(join(bin, "xorriso"), "#!/bin/sh\necho a seed > seed.iso\n", { mode: 0o755 });
  await copyFile((await findProgram("sleep")) ?? "sleep", join(bin, "waiting"));
  await copyFile((await findProgram("sh")) ?? "sh", join(bin, "shell"));
  // Writes what passt writes, and waits for its end; by its path taken for passt from its beginning on.
  const passt = `#!${bin}/shell
while [ $# -gt 1 ]; do
  case $1 in --socket) : > "$2" ;; --pid) echo $$ > "$2" ;; esac
  shift
done
exec ${bin}/waiting 600
`;
  await writeFile(join(bin, "passt"), passt, { mode: 0o755 });
  process.env["PATH"] = [bin, path].join(delimiter);
});

afterEach(async () => {
  process.env["PATH"] = path;
  await rm(folder, { recursive: true });
});

/** A libvirt whose guest has no Node.js until its package manager is asked, and then has it if `installs`. */
async function prepare({ installs }: { installs: boolean }) {
  const host = createMemoryHost();
  const shapes: string[] = [];
  const steps: Step[] = [];
  let networkAtBoot: string[] = [];
  let passtPid = 0;
  let hasNode = false;
  const maker = await markOfThisProcess();
  const define = host.domains.define.bind(host.domains);
  host.domains.define = (xml, signal) => {
    shapes.push(xml);
    return define(xml, signal);
  };
  host.domains.openChannel = async () => {
    const { agent, host: pipe } = createFakeAgent();
    agent.onOpen = (stream, operation, { argv }) => {
      const script = Array.isArray(argv) ? argv[2] : undefined;
      if (script === installRuntimeScript("node")) hasNode = installs;
      const code = script === probeScripts.node && !hasNode ? 127 : 0;
      if (operation === "exec") {
        agent.send(frameKind.opened, stream, 0, '{"pid":1}');
        for (const channel of [1, 2]) agent.send(frameKind.eof, stream, channel);
      }
      agent.send(frameKind.result, stream, 0, operation === "exec" ? JSON.stringify({ code }) : "{}");
      if (operation === "power_off") void host.domains.powerOff(domain, signal);
    };
    networkAtBoot = await readdir(join(folder, "run")).catch(() => []);
    passtPid = Number(await readFile(join(folder, "run", `${id}.pid`), "utf8").catch(() => "0"));
    return pipe;
  };
  const preparation = prepareGuest(
    host,
    {
      image: {
        reference: "debian:12",
        path: "/images/debian.qcow2",
        format: "qcow2",
        virtualSizeBytes: 1024 ** 3,
        fingerprint: "sha256:aa",
        architecture: "x86_64",
      },
      source: { path: "/images/debian.qcow2", format: "qcow2" },
      type: "node",
      files: [],
      disk: "prepared.qcow2",
      metadata: { kind: "preparation", id, owner: "me", key: "aa", build: "00000001", maker },
      onStep: (step) => steps.push(step),
    },
    {
      owner: "me",
      runtimeFolder: join(folder, "run"),
      logFolder: join(folder, "logs"),
      accelerator: async () => "tcg",
      agentTimeoutMs: 10_000,
    },
    async (provides) => provides,
    signal,
  );
  const outcome = await preparation.catch((error: unknown) => error);
  return { host, outcome, shapes, steps, networkAtBoot, passtPid };
}

/** Nothing of the preparation is left but its disk: no domain, no seed, no network. */
async function expectNothingLeft({ host, passtPid }: Awaited<ReturnType<typeof prepare>>): Promise<void> {
  expect([...host.machines.keys()]).toEqual([]);
  expect([...host.volumes.keys()]).toEqual(["prepared.qcow2"]);
  expect(await readdir(join(folder, "run")).catch(() => [])).toEqual([]);
  await expect.poll(() => passtPid > 0 && existsSync(`/proc/${passtPid}`)).toBe(false);
}

test("what is missing is installed through passt, which cannot reach the host's loopback, and passt ends", async () => {
  const done = await prepare({ installs: true });
  expect(done.outcome).toEqual(["shell", "python", "node"]);
  const [first = "", second = ""] = done.shapes;
  expect(first).not.toContain("virtio-net");
  expect(second).toContain(join(folder, "run", `${id}.sock`));
  expect(second).not.toContain("<interface");
  expect(done.networkAtBoot).toContain(`${id}.sock`);
  await expectNothingLeft(done);
});

test("what the guest's network reaches meanwhile is told with the step", async () => {
  const { steps } = await prepare({ installs: true });
  const installing = steps.filter(({ id }) => id === "prepare-install");
  expect(installing.map(({ state }) => state)).toEqual(["started", "done"]);
  expect(installing[0]?.title).toMatch(
    /^Installing what node needs; meanwhile the guest reaches this host's LAN/,
  );
});

test("a guest on which the type still does not work leaves no network behind", async () => {
  const done = await prepare({ installs: false });
  expect(done.outcome).toMatchObject({ code: "guest_failed" });
  expect(done.networkAtBoot).toContain(`${id}.sock`);
  await expectNothingLeft(done);
});

test("a passt that does not come up fails the preparation and leaves nothing", async () => {
  await writeFile(join(folder, "bin", "passt"), "#!/bin/sh\necho no such luck >&2\nexit 1\n", {
    mode: 0o755,
  });
  const done = await prepare({ installs: true });
  expect(done.outcome).toMatchObject({ message: expect.stringContaining("no such luck") });
  await expectNothingLeft(done);
});
