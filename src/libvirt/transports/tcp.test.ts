/** The client against a real daemon that listens on TCP. */
import { describe, expect, it } from "vitest";

import { connectLibvirt, LibvirtAuthError } from "../index.ts";
import { findFreePort } from "../testing/free-port.ts";
import { startSessionHost, type SessionHost } from "../testing/session-daemon.ts";
import { waitForPort } from "../testing/wait-for-port.ts";
import { tinyDomainXml } from "../testing/tiny-domain.ts";

async function startTcpHost(auth: "none" | "sasl"): Promise<{ host: SessionHost; uri: string }> {
  const port = await findFreePort();
  const config = [
    "listen_tls = 0",
    "listen_tcp = 1",
    `tcp_port = "${port}"`,
    'listen_addr = "127.0.0.1"',
    `auth_tcp = "${auth}"`,
    "",
  ].join("\n");
  const host = await startSessionHost({ config, args: ["--listen"] });
  // The host is up when its unix socket is, which comes first.
  await waitForPort(port);
  return { host, uri: `qemu+tcp://127.0.0.1:${port}/session` };
}

describe("TCP", () => {
  it("does what a unix socket does", async () => {
    const { host, uri } = await startTcpHost("none");
    await using _host = host;
    await using connection = await connectLibvirt(uri);
    expect(connection.isLocal).toBe(false);
    const domain = await connection.domains.createXml(tinyDomainXml("remote"), { paused: true });
    const console = await connection.devices.openConsole(domain);
    const text = console[Symbol.asyncIterator]();
    await connection.domains.resume(domain);
    expect((await text.next()).done).toBe(false);
    await connection.domains.destroy(domain);
    console.destroy();
  });

  it("with authentication is refused with the way out", async () => {
    const { host, uri } = await startTcpHost("sasl");
    await using _host = host;
    const connecting = connectLibvirt(uri);
    await expect(connecting).rejects.toBeInstanceOf(LibvirtAuthError);
    await expect(connecting).rejects.toThrow(/by sasl, which is not supported; connect with qemu\+ssh/);
  });
});
