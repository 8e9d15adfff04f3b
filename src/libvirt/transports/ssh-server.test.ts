/** The client against a real daemon behind a real sshd. */
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { connectLibvirt, LibvirtConnectionLostError } from "../index.ts";
import { startSessionHost, type SessionHost } from "../testing/session-daemon.ts";
import { startSshServer, type SshServer } from "../testing/ssh-server.ts";
import { withDomain } from "../testing/tiny-domain.ts";

let host: SessionHost;
let server: SshServer;

beforeAll(async () => {
  host = await startSessionHost();
  server = await startSshServer(host);
});

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await host?.stop();
});

/** As much of netcat as is used: `nc -U PATH`, and no `-q`. */
const netcatScript = `#!/usr/bin/python3
import os, socket, sys, threading
if sys.argv[1] != "-U": sys.exit("nc: invalid option -- " + sys.argv[1])
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[2])
def up():
    while data := os.read(0, 65536): link.sendall(data)
    link.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := link.recv(65536): os.write(1, data)
`;

function uriWith(parameters: Record<string, string> = {}, user = host.user.name): string {
  const query = new URLSearchParams({ keyfile: server.keyFile, command: server.command, ...parameters });
  return `qemu+ssh://${user}@127.0.0.1:${server.port}/session?${query.toString().replaceAll("+", "%20")}`;
}

describe("ssh", () => {
  it("meets the same daemon through virt-ssh-helper, with streams and events", async () => {
    await using local = await connectLibvirt(host.uri);
    await using remote = await connectLibvirt(uriWith());
    await using running = await withDomain(local, "far", { start: true });
    expect(await remote.domains.lookupByName("far")).toEqual(running.domain);
    const resumed = remote.events.lifecycle();
    const first = resumed.next();
    const console = await remote.devices.openConsole(running.domain);
    const chunks = console[Symbol.asyncIterator]();
    await remote.domains.resume(running.domain);
    expect((await chunks.next()).done).toBe(false);
    expect(await first).toMatchObject({ value: { event: "resumed", domain: { name: "far" } } });
    console.destroy();
  });

  it("falls back to netcat", async () => {
    const netcat = join(host.folder, "nc");
    writeFileSync(netcat, netcatScript, { mode: 0o755 });
    await using remote = await connectLibvirt(uriWith({ proxy: "netcat", netcat }));
    expect(await remote.domains.list()).toEqual([]);
    expect(await remote.host.hostname()).not.toBe("");
  });

  it("meets through netcat the kind of daemon that is asked for, or whichever is there", async () => {
    const netcat = join(host.folder, "nc-of-modes");
    writeFileSync(netcat, netcatScript, { mode: 0o755 });
    const modular = join(dirname(host.socketPath), "virtqemud-sock");
    const reach = async (parameters: Record<string, string>): Promise<string> => {
      await using remote = await connectLibvirt(uriWith({ netcat, ...parameters }));
      return await remote.host.hostname();
    };
    const name = await reach({ mode: "legacy" });
    await expect(reach({ mode: "direct" })).rejects.toThrow(/could not connect.*FileNotFoundError/s);
    symlinkSync(host.socketPath, modular);
    try {
      expect(await reach({ mode: "direct" })).toBe(name);
      expect(await reach({ proxy: "netcat" })).toBe(name);
    } finally {
      rmSync(modular);
    }
  });

  it("says what ssh said when it does not let us in", async () => {
    await expect(connectLibvirt(uriWith({}, "nobody-there"))).rejects.toThrow(
      /could not connect to qemu\+ssh:.*ended \(exit code 255\).*Permission denied/s,
    );
    await expect(connectLibvirt(uriWith({ proxy: "netcat", netcat: "/no/such/nc" }))).rejects.toThrow(
      /could not connect.*\/no\/such\/nc/s,
    );
  });

  it("fails every call when the connection to the host breaks", async () => {
    const remote = await connectLibvirt(uriWith());
    process.kill(host.daemonPid(), "SIGSTOP");
    const pending = remote.domains.list().catch((error: unknown) => error);
    process.kill(host.daemonPid(), "SIGKILL");
    expect(await pending).toBeInstanceOf(LibvirtConnectionLostError);
    await remote.close();
  });
});
