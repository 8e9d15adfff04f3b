/** What happens to calls and streams when the daemon dies, hangs or leaves. Each test has a daemon of its own. */
import { describe, expect, it } from "vitest";

import {
  connectLibvirt,
  LibvirtConnectionLostError,
  LibvirtConnectError,
  LibvirtTimeoutError,
} from "./index.ts";
import { startSessionHost, type SessionHost } from "./testing/session-daemon.ts";
import { tinyChannelName, tinyDomainXml } from "./testing/tiny-domain.ts";

/** The daemon does nothing any more and still has its sockets. */
function freeze(host: SessionHost): void {
  process.kill(host.daemonPid(), "SIGSTOP");
}

describe("a daemon that is killed", () => {
  it("fails every call and stream under way at once, with one error", async () => {
    await using host = await startSessionHost();
    const connection = await connectLibvirt(host.uri);
    const domain = await connection.domains.createXml(tinyDomainXml("left"), { paused: true });
    const channel = await connection.devices.openChannel(domain, tinyChannelName);
    const channelLost = new Promise<Error>((resolve) => channel.once("error", resolve));
    freeze(host);
    const pending = Array.from({ length: 50 }, () =>
      connection.domains.list().catch((error: unknown) => error),
    );
    process.kill(host.daemonPid(), "SIGKILL");

    const errors = new Set(await Promise.all(pending));
    expect(errors.size).toBe(1);
    const [error] = errors;
    expect(error).toBeInstanceOf(LibvirtConnectionLostError);
    expect(String(error)).toContain(host.socketPath.split("/").at(-1));
    expect(await channelLost).toBeInstanceOf(LibvirtConnectionLostError);
    expect(await connection.closed).toBe(error);
    await expect(connection.domains.list()).rejects.toBe(error);
    await connection.close();
  });
});

describe("a daemon that hangs", () => {
  it("ends a call at its deadline, and the connection is of use when it goes on", async () => {
    await using host = await startSessionHost();
    // Connecting has calls, too, and takes as long as it takes.
    await using connection = await connectLibvirt(host.uri, { callTimeoutMs: 2_000 });
    freeze(host);
    await expect(connection.domains.list()).rejects.toBeInstanceOf(LibvirtTimeoutError);
    await expect(connection.domains.list({}, { timeoutMs: 50 })).rejects.toThrow("within 50 ms");
    await expect(connection.domains.list({}, { signal: AbortSignal.timeout(50) })).rejects.toThrow("aborted");
    process.kill(host.daemonPid(), "SIGCONT");
    expect(await connection.domains.list({}, { timeoutMs: 20_000 })).toEqual([]);
  });

  it("does not let anybody wait for a connection longer than the deadline", async () => {
    await using host = await startSessionHost();
    freeze(host);
    const connecting = connectLibvirt(host.uri, { timeoutMs: 200 });
    await expect(connecting).rejects.toBeInstanceOf(LibvirtTimeoutError);
    const aborted = connectLibvirt(host.uri, { signal: AbortSignal.timeout(100) });
    await expect(aborted).rejects.toThrow("was aborted");
  });

  it("is found out by pings", async () => {
    await using host = await startSessionHost();
    const keepAlive = { intervalMs: 200, count: 4 };
    await using connection = await connectLibvirt(host.uri, { keepAlive });
    freeze(host);
    expect(await connection.closed).toMatchObject({
      message: expect.stringContaining("has not answered for 1000 ms"),
    });
  });
});

describe("a daemon that is not there", () => {
  it("is named by its socket", async () => {
    const uri = "qemu+unix:///system?socket=/tmp/no-such-libvirt-sock";
    await expect(connectLibvirt(uri)).rejects.toBeInstanceOf(LibvirtConnectError);
    await expect(connectLibvirt(uri)).rejects.toThrow(
      /no libvirt daemon listens at \/tmp\/no-such-libvirt-sock \(.*ENOENT/,
    );
  });

  it("is told before it is asked when the socket's path can't be one", async () => {
    const uri = `qemu+unix:///system?socket=/tmp/${"x".repeat(110)}`;
    await expect(connectLibvirt(uri)).rejects.toThrow("longer than the 107 bytes");
  });

  it("at a TCP port is named by the URI", async () => {
    await expect(connectLibvirt("qemu+tcp://127.0.0.1:1/system")).rejects.toThrow(
      /could not connect to qemu\+tcp:\/\/127\.0\.0\.1:1\/system: .*ECONNREFUSED/,
    );
  });

  it("behind a missing ssh is told", async () => {
    await expect(connectLibvirt("qemu+ssh://h/system?command=/no/such/ssh")).rejects.toThrow(
      "could not start /no/such/ssh",
    );
  });
});

describe("closing", () => {
  it("fails what is under way, resolves `closed`, and may be repeated", async () => {
    await using host = await startSessionHost();
    const connection = await connectLibvirt(host.uri);
    freeze(host);
    const pending = connection.domains.list().catch((error: unknown) => error);
    await Promise.all([connection.close(), connection.close()]);
    expect(await pending).toBeInstanceOf(LibvirtConnectionLostError);
    await expect(connection.closed).resolves.toBeUndefined();
    await connection.close();
  });
});
