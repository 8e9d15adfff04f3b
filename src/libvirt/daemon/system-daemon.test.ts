/** Starting the system daemon, for real, where nobody else sees it. Needs root. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";

import { startSystemDaemon } from "./system-daemon.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../../..");
const scenario = join(root, "src/libvirt/testing/system-daemon-scenario.ts");
const isRoot = process.geteuid?.() === 0;

it.runIf(isRoot)(
  "root gets a system daemon with its log daemon, once; nothing stays unreaped, and both go when they are asked to",
  async () => {
    const namespaces = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];
    const { stdout } = await run("unshare", [...namespaces, process.execPath, "--import", "tsx", scenario], {
      cwd: root,
    });
    const report: unknown = JSON.parse(stdout);
    expect(report).toMatchObject({
      absent: expect.stringContaining("no libvirt daemon listens at /var/run/libvirt/"),
      started: [
        { program: expect.stringMatching(/libvirtd|virtqemud/) },
        { program: expect.stringMatching(/virtlogd$/) },
      ],
      again: [],
      states: ["paused", "paused"],
      zombies: 0,
      left: [],
    });
  },
);

it.skipIf(isRoot)("only root may start it", async () => {
  await expect(startSystemDaemon()).rejects.toThrow("only root can start libvirt's system daemon");
});
