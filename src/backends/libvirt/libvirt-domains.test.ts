/** The backend's domains, on a real session daemon. */
import { afterAll, beforeAll, expect, test } from "vitest";

import { connectLibvirt, type LibvirtConnection } from "../../libvirt/index.ts";
import { startSessionHost, type SessionHost } from "../../libvirt/testing/session-daemon.ts";
import { tinyChannelName, withDomain } from "../../libvirt/testing/tiny-domain.ts";
import { createDomains } from "./libvirt-domains.ts";
import { createLibvirtLink } from "./libvirt-link.ts";

let host: SessionHost;
let connection: LibvirtConnection;

beforeAll(async () => {
  host = await startSessionHost();
  connection = await connectLibvirt(host.uri);
}, 60_000);

afterAll(async () => {
  await connection?.close();
  await host?.stop();
}, 60_000);

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
