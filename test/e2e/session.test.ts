/** `qemu:///session`, as an unprivileged user: a Debian image from a publisher, and all that a sandbox can do. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { guestImage } from "../fixtures/guest-image.ts";
import { createTestHost, type TestHost } from "../fixtures/host.ts";
import { debianFiles, type Publisher, startPublisher } from "../fixtures/publisher.ts";
import { commandSuite } from "./suites/commands.ts";
import { fileSuite } from "./suites/files.ts";
import { lifecycleSuite } from "./suites/lifecycle.ts";
import { makeMountedFolders, mountSuite, removeMountedFolders } from "./suites/mounts.ts";
import { networkSuite, noNetworkSuite } from "./suites/network.ts";
import { inGuest, type Subject, succeed } from "./suites/subject.ts";
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
    const child = host.spawn(host.heyvmCommand(...create(...args)));
    let shown = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      const before = shown.includes(words);
      shown += chunk.toString();
      if (!before && shown.includes(words)) child.kill("SIGINT");
    });
    const [code] = await once(child, "close");
    expect({ code, shown }).toEqual({ code: 130, shown: expect.stringContaining(words) });
  });
}

test("Ctrl-C while a disk is prepared leaves nothing", async () => {
  await interruptedAt("Preparing", "--type", "python");
});

describe("a python sandbox", () => {
  beforeAll(async () => {
    await succeed(host, ...create("--type", "python", "--name", "box"));
  });

  pythonSuite(python);
  commandSuite(python);
  fileSuite(python);
  noNetworkSuite(python);

  test("is gone after rm", async () => {
    await succeed(host, "rm", "--yes", "box");
    expect(await succeed(host, "list", "--all", "--format", "json")).toBe("[]\n");
  });
});

test("Ctrl-C while the guest boots leaves nothing", async () => {
  await interruptedAt("Waiting for the guest", "--type", "python");
});

describe("a node sandbox with a network, two mounts, hooks and a start command", () => {
  beforeAll(async () => {
    const mounts = await makeMountedFolders({ host });
    const size = ["--cpus", "2", "--memory", "768M", "--disk", "5G"];
    const inside = ["--needs-network", "--working-directory", "/srv/app", "--env", "COLOUR=blue"];
    const hooks = [
      "--setup-hook",
      "echo $COLOUR > hooked",
      "--start-command",
      "echo started; exec sleep 9999",
    ];
    await succeed(
      host,
      ...create("--type", "node", "--name", "web", ...size, ...inside, ...hooks, ...mounts),
    );
  });
  afterAll(async () => {
    await succeed(host, "rm", "--yes", "web");
    await removeMountedFolders(host);
  });

  test("has the size, environment and working directory that were asked for", async () => {
    const script =
      "nproc; pwd; cat hooked; echo $COLOUR; df -m --output=size / | tail -1; free -m | awk 'NR==2 {print $2}'";
    const lines = (await inGuest(node(), script)).split("\n");
    expect(lines.slice(0, 4)).toEqual(["2", "/srv/app", "blue", "blue"]);
    expect(Number(lines[4])).toBeGreaterThan(4500);
    expect(Number(lines[5])).toBeGreaterThan(600);
    expect(Number(lines[5])).toBeLessThan(768);
    expect(await inGuest(node(), "cat /var/log/heyvm-start.log")).toBe("started\n");
    expect(await succeed(host, "logs", "web")).toContain("started");
  });

  nodeSuite(node);
  networkSuite(node);
  mountSuite(node);
  lifecycleSuite(node);

  test("has its mounts again after it was stopped", async () => {
    expect(await inGuest(node(), "cat /mnt/data/data; pgrep -cf 'sleep [9]999'")).toBe("kept\n1\n");
  });
});
