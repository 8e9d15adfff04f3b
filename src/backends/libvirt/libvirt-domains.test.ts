/** The backend's domains, on a real session daemon. */
import type { Duplex } from "node:stream";
import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { connectLibvirt, type LibvirtConnection } from "../../libvirt/index.ts";
import { startSessionHost, type SessionHost } from "../../libvirt/testing/session-daemon.ts";
import { tinyChannelName, withDomain } from "../../libvirt/testing/tiny-domain.ts";
import { sayHello } from "../../agent/handshake.ts";
import { createDomains } from "./libvirt-domains.ts";
import { createLibvirtLink } from "./libvirt-link.ts";

let host: SessionHost;
let connection: LibvirtConnection;

beforeAll(async () => {
  host = await startSessionHost();
  connection = await connectLibvirt(host.uri);
});

afterAll(async () => {
  await connection?.close();
  await host?.stop();
});

test("a channel that is opened and closed over and over does not bring libvirt down", async () => {
  await using _machine = await withDomain(connection, "reopened", { start: true });
  const link = createLibvirtLink(host.uri);
  const domains = createDomains(link, false);
  const pid = host.daemonPid();
  let opened = 0;
  const reopen = async () => {
    for (let round = 0; round < 100; round++) {
      // Another one's end may be in the way.
      const channel = await domains
        .openChannel("reopened", tinyChannelName, AbortSignal.timeout(20_000))
        .catch(() => undefined);
      if (channel !== undefined) opened++;
      channel?.destroy();
    }
  };
  await Promise.all([reopen(), reopen()]);
  expect(opened).toBeGreaterThan(100);
  await expect(domains.list(AbortSignal.timeout(20_000))).resolves.toEqual(["reopened"]);
  expect(host.daemonPid()).toBe(pid);
  await link.close();
});

test("a channel is free as soon as its client has gone, also when the guest never read what it was told", async () => {
  await using _machine = await withDomain(connection, "booting", { start: true });
  const link = createLibvirtLink(host.uri);
  const domains = createDomains(link, false);
  const open = () => domains.openChannel("booting", tinyChannelName, AbortSignal.timeout(20_000));
  const pid = host.daemonPid();
  for (let round = 0; round < 3; round += 1) {
    const channel = await open();
    await sayHelloForLong(channel);
    channel.destroy();
  }
  (await open()).destroy();
  expect(host.daemonPid()).toBe(pid);
  await link.close();
});

/** As to a guest that boots for hours, and until libvirt has all of it. */
async function sayHelloForLong(channel: Duplex): Promise<void> {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
  const end = new AbortController();
  const hello = { session: "s", received: 0, resume: false };
  const answer = sayHello(channel, hello, end.signal, false).catch((error: unknown) => error);
  for (let second = 0; second < 3600; second += 1) {
    vi.advanceTimersByTime(1000);
    // A write is a turn of the event loop.
    await new Promise(setImmediate);
  }
  vi.useRealTimers();
  await expect.poll(() => channel.writableLength).toBe(0);
  end.abort(new Error("enough"));
  expect(await answer).toMatchObject({ message: "enough" });
}
