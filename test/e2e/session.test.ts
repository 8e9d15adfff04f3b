/** `qemu:///session`, as an unprivileged user: a Debian image from a publisher, and all that a sandbox can do. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { guestImage } from "../fixtures/guest-image.ts";
import { createTestHost, type TestHost } from "../fixtures/host.ts";
import { useTemplate } from "../fixtures/kept-template.ts";
import { usePreparedDisk } from "../fixtures/prepared-disk.ts";
import { debianFiles, type Publisher, startPublisher } from "../fixtures/publisher.ts";
import { commandSuite, heavyCommandSuite } from "./suites/commands.ts";
import { fileSuite, largeFileSuite } from "./suites/files.ts";
import { lifecycleSuite } from "./suites/lifecycle.ts";
import { makeMountedFolders, mountRebootSuite, mountSuite, removeMountedFolders } from "./suites/mounts.ts";
import { networkSuite, noNetworkSuite } from "./suites/network.ts";
import { pressCtrlC } from "../fixtures/press-ctrl-c.ts";
import { inGuest, soonInGuest, type Subject, succeed } from "./suites/subject.ts";
import { nodeSuite, pythonSuite } from "./suites/types.ts";

let publisher: Publisher;
let host: TestHost;
beforeAll(async () => {
  publisher = await startPublisher({ files: await debianFiles(await guestImage()) });
  host = await createTestHost({ env: { HEYVM_MIRROR_DEBIAN: publisher.url } });
  await succeed(host, "pull", "debian:12");
  await succeed(host, "backends");
});
afterAll(async () => {
  await host[Symbol.asyncDispose]();
  await publisher[Symbol.asyncDispose]();
});

const python = (): Subject => ({ host, box: "box" });
const node = (): Subject => ({ host, box: "web" });

const create = (...args: string[]) => ["create", "--image", "debian:12", ...args];

/** Starts a create, interrupts it when it has shown these words, and waits for its end. */
async function interruptedAt(words: string, ...args: string[]): Promise<void> {
  await host.leavesNothing(async () => {
    const { code, stderr } = await pressCtrlC(host, words, ...create(...args));
    expect({ code, stderr }).toEqual({ code: 130, stderr: expect.stringContaining(words) });
  });
}

test("Ctrl-C while a disk is prepared leaves nothing", async () => {
  await interruptedAt("Preparing", "--type", "python");
});

describe("a python sandbox", () => {
  beforeAll(async () => {
    await usePreparedDisk(host);
    await useTemplate(host);
    await succeed(host, ...create("--type", "python", "--name", "box"));
  });

  pythonSuite(python);
  commandSuite(python);
  heavyCommandSuite(python);
  fileSuite(python);
  largeFileSuite(python);
  noNetworkSuite(python);

  test("is gone after rm", async () => {
    await succeed(host, "rm", "--yes", "box");
    expect(await succeed(host, "list", "--all", "--format", "json")).toBe("[]\n");
  });
});

test("Ctrl-C while the guest boots leaves nothing", async () => {
  await interruptedAt("Waiting for the guest", "--type", "python", "--memory", "900M");
});

test("Ctrl-C while a machine is cloned leaves nothing", async () => {
  // It would be ready before the signal comes.
  await interruptedAt("Cloning", "--type", "python", "--setup-hook", "sleep 60");
});

describe("Ctrl-C while the command of a run works is the command's, and the sandbox goes with it", () => {
  const cases: [what: string, script: string, code: number, stdout: string][] = [
    [
      "one that has an answer to it",
      "trap 'echo caught; exit 3' INT; echo at work; while :; do sleep 0.1; done",
      3,
      "at work\ncaught\n",
    ],
    ["one that has none", "echo at work; exec sleep 1000", 130, "at work\n"],
  ];
  test.each(cases)("%s", async (_what, script, code, stdout) => {
    await host.leavesNothing(async () => {
      const run = ["run", "--image", "debian:12", "--type", "python", "--", "sh", "-c", script];
      expect(await pressCtrlC(host, "at work", ...run)).toMatchObject({ code, stdout });
      expect(await succeed(host, "list", "--all", "--format", "json")).toBe("[]\n");
    });
  });
});

async function startMode(box: string): Promise<unknown> {
  return JSON.parse(await succeed(host, "get", box, "--format", "json")).start_mode;
}

describe("a node sandbox with a network, eight mounts, a larger disk, hooks and a start command", () => {
  let made: { code: number | null; stderr: string };
  beforeAll(async () => {
    const odd = join(host.paths.home, "a,b");
    await host.run(["sh", "-c", `mkdir -p ${odd}/below; echo odd > ${odd}/file`]);
    // One lies below another that is asked for later.
    const places = ["odd1/below", "odd1", "odd2", "odd3", "odd4", "odd5"];
    const many = places.flatMap((place) => ["--mount", `${odd}:/mnt/${place}:ro`]);
    const mounts = [...(await makeMountedFolders({ host })), ...many];
    const inside = ["--needs-network", "--working-directory", "/srv/app", "--env", "COLOUR=blue"];
    const hooks = ["--setup-hook", "echo $COLOUR > hooked"];
    // What it writes at its end has to reach the host: the mounts go after it.
    const goodbye = `trap 'echo bye >> /workspace/project/bye; exit' TERM`;
    const command = [
      "--start-command",
      `cd /; ${goodbye}; echo started; while :; do sleep 9999 & wait; done`,
    ];
    const rest = ["--disk", "5G", ...inside, ...hooks, ...command, ...mounts];
    made = await host.heyvm(...create("--type", "node", "--name", "web", ...rest));
  });
  afterAll(async () => {
    await succeed(host, "rm", "--yes", "web");
    await removeMountedFolders(host);
    await host.run(["rm", "-r", join(host.paths.home, "a,b")]);
  });
  test("is a clone, and has the disk, mounts, environment and working directory that were asked for", async () => {
    // The disk that was prepared for python serves node, too.
    expect(made).toMatchObject({ code: 0, stderr: expect.not.stringContaining("Preparing") });
    expect(await startMode("web")).toBe("cloned");
    const lines = await inGuest(node(), "pwd; cat hooked; echo $COLOUR; df -m --output=size / | tail -1");
    expect(lines).toMatch(/^\/srv\/app\nblue\nblue\n *\d+\n$/);
    expect(Number(lines.split("\n")[3])).toBeGreaterThan(4500);
    expect(await inGuest(node(), "cat /mnt/odd*/file /mnt/odd1/below/file | sort | uniq -c")).toBe(
      "      6 odd\n",
    );
    expect(await inGuest(node(), "cat /var/log/heyvm-start.log")).toBe("started\n");
    expect(await succeed(host, "logs", "web")).toContain("started");
  });

  nodeSuite(node);
  networkSuite(node);
  mountSuite(node);
  mountRebootSuite(node);

  test("keeps its start command when its agent is killed, and what that agent was to answer ends", async () => {
    const server = () => inGuest(node(), "pgrep -fx 'sleep 9999'; cat /var/log/heyvm-start.log");
    const before = await server();
    expect(before).toMatch(/^\d+\nstarted\n/);
    const script = "trap '' HUP PIPE TERM; kill -KILL $(pgrep -f 'heyvm/[a]gent.py'); sleep 8888; sleep 8888";
    const killed = await host.heyvm("exec", "--no-stdin", "web", "--", "sh", "-c", script);
    expect(killed.code).not.toBe(0);
    await soonInGuest(node(), "! pgrep -fx 'sleep 8888'");
    expect(await server()).toBe(before);
  });

  lifecycleSuite(node);

  test("has booted from its own disk after it was stopped, with its mounts and its start command", async () => {
    expect(await startMode("web")).toBe("booted");
    const { stdout } = await host.run(["cat", join(host.paths.home, "project", "bye")]);
    expect(stdout).toMatch(/^(bye\n)+$/);
    expect(await inGuest(node(), "cat /mnt/data/data /mnt/odd1/below/file; pgrep -cfx 'sleep 9999'")).toBe(
      "kept\nodd\n1\n",
    );
  });
});
