/** The backend's domains, on a real session daemon. */
import type { Duplex } from "node:stream";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { connectLibvirt, type LibvirtConnection } from "../../../libvirt/index.ts";
import { startSessionHost, type SessionHost } from "../../../libvirt/testing/session-daemon.ts";
import { tinyChannelName, withDomain } from "../../../libvirt/testing/tiny-domain.ts";
import { sayHello } from "../../../agent/handshake.ts";
import { ownerOf, uuidOf } from "./domain-metadata.ts";
import { hostArchitecture } from "../acceleration/kvm-check.ts";
import { createDomains } from "./libvirt-domains.ts";
import { createLibvirtHost } from "../connection/libvirt-host.ts";
import { createLibvirtLink } from "../connection/libvirt-link.ts";
import { defineMachine } from "../machine/machine-definition.ts";
import type { Ownership } from "../machine/ownership.ts";
import { poolXml } from "../storage/storage-xml.ts";

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
  const domains = createDomains(link, { isLocal: false, pidFile: () => undefined });
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
  const domains = createDomains(link, { isLocal: false, pidFile: () => undefined });
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

test("a machine that was made under the mark of the version before is defined again, and remains one domain", async () => {
  const { pools } = connection;
  const folder = join(host.folder, "data", "heyvm");
  const pool = await pools.defineXml(poolXml(folder));
  await pools.build(pool);
  const libvirt = createLibvirtHost(host.uri);
  const signal = AbortSignal.timeout(60_000);
  const settings = {
    kvmVerdictPath: join(host.folder, "kvm.json"),
    runtimeFolder: join(host.folder, "sockets"),
  };
  const image = {
    reference: "x",
    path: "/x",
    format: "raw",
    virtualSizeBytes: 2 ** 20,
    fingerprint: "x",
  } as const;
  const architecture = hostArchitecture();
  const size = { cpus: 1, memoryBytes: 2 ** 27, diskBytes: undefined, mounts: [], network: false };
  const spec = {
    id: "sb-0000000a",
    name: "x",
    type: "shell",
    image: { ...image, architecture },
    ...size,
  } as const;
  const formerOwner = "old-name:/home/ann/.heyo";
  const define = async (ownership: Ownership) => {
    await defineMachine({ host: libvirt, settings: { ...ownership, ...settings } }, spec, signal);
    const xml = (await libvirt.domains.xml("heyvm-sb-0000000a", signal)) ?? "";
    return { uuid: uuidOf(xml), owner: ownerOf(xml) };
  };
  try {
    const { uuid } = await define({ owner: formerOwner });
    expect(await define({ owner: "id", formerOwner })).toEqual({ uuid, owner: "id" });
    await expect(define({ owner: "another" })).rejects.toMatchObject({ code: "wrong_state" });
    await libvirt.domains.remove("heyvm-sb-0000000a", signal);
  } finally {
    await libvirt.close();
  }
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
