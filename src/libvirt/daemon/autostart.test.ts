/** Starting a session daemon for an ordinary user, for real. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";

import { asUser, createUserFolder, endTree, ensureTestUser } from "../testing/session-daemon.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../../..");
const scenario = join(root, "src/libvirt/testing/autostart-scenario.ts");

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

it("clients that come at the same time get one daemon, which outlives them", async () => {
  const user = await ensureTestUser();
  const { folder, env } = createUserFolder(user);
  try {
    const [program = "", ...args] = asUser(user, [process.execPath, "--import", "tsx", scenario]);
    const { stdout } = await run(program, args, { cwd: root, env });
    expect(JSON.parse(stdout)).toMatchObject({
      seen: [1, 1, 1],
      started: expect.arrayContaining([
        {
          socketPath: join(folder, "run/libvirt/libvirt-sock"),
          program: expect.stringMatching(/libvirtd|virtqemud/),
          pid: expect.any(Number),
        },
      ]),
    });
    const pid = Number(readFileSync(join(folder, "run/libvirt/libvirtd.pid"), "utf8"));
    expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).toContain("--timeout=120");
    // Those of the slower clients have left already.
    const pids = [...stdout.matchAll(/"pid":(\d+)/g)].map(([, started]) => Number(started));
    for (const started of pids.filter(isAlive)) await endTree(started);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it("LIBVIRT_AUTOSTART=0 starts none and says where it looked", async () => {
  const user = await ensureTestUser();
  const { folder, env } = createUserFolder(user);
  try {
    const [program = "", ...args] = asUser(user, [process.execPath, "--import", "tsx", scenario]);
    const running = run(program, args, { cwd: root, env: { ...env, LIBVIRT_AUTOSTART: "0" } });
    await expect(running).rejects.toThrow(`no libvirt daemon listens at ${folder}/run/libvirt/`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it("a daemon that can't start is told with its own words", async () => {
  const user = await ensureTestUser();
  const { folder, env } = createUserFolder(user);
  try {
    mkdirSync(join(folder, "config/libvirt"));
    writeFileSync(join(folder, "config/libvirt/libvirtd.conf"), "max_clients = nonsense\n");
    writeFileSync(join(folder, "config/libvirt/virtqemud.conf"), "max_clients = nonsense\n");
    const [program = "", ...args] = asUser(user, [process.execPath, "--import", "tsx", scenario]);
    await expect(run(program, args, { cwd: root, env })).rejects.toThrow(
      /left at once \(exit code 1\): .*nonsense|syntax/s,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
