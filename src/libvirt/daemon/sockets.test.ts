/** Which of a user's daemons is connected to, with a real one behind the sockets. */
import { mkdirSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { startSessionHost, type SessionHost } from "../testing/session-daemon.ts";
import { parseConnectionUri } from "../uri.ts";
import { findDaemonSocket, sessionSocketFolder } from "./sockets.ts";

const root = join(import.meta.dirname, "../../..");
const scenario = join(root, "src/libvirt/testing/connect-scenario.ts");
const uris = ["qemu:///session", "qemu:///session?mode=direct", "qemu:///session?mode=legacy"];

let host: SessionHost;

beforeAll(async () => {
  host = await startSessionHost();
});

afterAll(async () => {
  await host?.stop();
});

/** Where the user gets to with each mode, when the sockets are in this folder. */
async function reach(runtimeFolder: string): Promise<string[]> {
  const env = [`XDG_RUNTIME_DIR=${runtimeFolder}`, "LIBVIRT_AUTOSTART=0"];
  // tsx is found from there.
  const argv = ["env", "-C", root, ...env, process.execPath, "--import", "tsx", scenario, ...uris];
  return JSON.parse((await host.runAs(argv)).stdout);
}

describe("the session's socket", () => {
  it("is the monolithic daemon's where that is the only one", async () => {
    const socket = host.socketPath;
    const other = join(dirname(socket), "virtqemud-sock");
    const refused = expect.stringContaining(`no libvirt daemon listens at ${other}`);
    expect(await reach(join(host.folder, "run"))).toEqual([socket, refused, socket]);
  });

  it("is the modular daemon's where there is one, unless the other is asked for", async () => {
    const runtimeFolder = join(host.folder, "both");
    const folder = join(runtimeFolder, "libvirt");
    mkdirSync(folder, { recursive: true });
    for (const name of ["libvirt-sock", "virtqemud-sock"]) symlinkSync(host.socketPath, join(folder, name));
    const [legacy, direct] = [join(folder, "libvirt-sock"), join(folder, "virtqemud-sock")];
    expect(await reach(runtimeFolder)).toEqual([direct, direct, legacy]);
  });

  it("is not the monolithic daemon's where only the modular one is", async () => {
    const runtimeFolder = join(host.folder, "modular");
    const folder = join(runtimeFolder, "libvirt");
    mkdirSync(folder, { recursive: true });
    const direct = join(folder, "virtqemud-sock");
    symlinkSync(host.socketPath, direct);
    const refused = expect.stringContaining(`no libvirt daemon listens at ${join(folder, "libvirt-sock")}`);
    expect(await reach(runtimeFolder)).toEqual([direct, direct, refused]);
  });

  it("is looked for where libvirt's own client looks", () => {
    const home = { HOME: "/home/me" };
    expect(sessionSocketFolder({ ...home, XDG_RUNTIME_DIR: "/run/user/7", XDG_CACHE_HOME: "/c" })).toBe(
      "/run/user/7/libvirt",
    );
    expect(sessionSocketFolder({ ...home, XDG_CACHE_HOME: "/c" })).toBe("/c/libvirt");
    expect(sessionSocketFolder(home)).toBe("/home/me/.cache/libvirt");
  });

  it("is the one that the URI names, and nobody starts a daemon for that", () => {
    const uri = parseConnectionUri("qemu+unix:///session?socket=/tmp/mine");
    expect(findDaemonSocket(uri, {})).toMatchObject({ path: "/tmp/mine", isSession: false });
  });
});
