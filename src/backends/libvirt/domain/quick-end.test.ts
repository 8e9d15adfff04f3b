/** A machine that is removed is gone before libvirt notices it; on a real session daemon. */
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";

import { HeyvmError } from "../../../errors/index.ts";
import { connectLibvirt, type LibvirtConnection, qemuPidFile } from "../../../libvirt/index.ts";
import { startSessionHost, type SessionHost } from "../../../libvirt/testing/session-daemon.ts";
import { tinyDomainXml } from "../../../libvirt/testing/tiny-domain.ts";
import type { Domains } from "../host.ts";
import { createDomains } from "./libvirt-domains.ts";
import { createLibvirtLink, type LibvirtLink } from "../connection/libvirt-link.ts";
import { isQemuOf, readPidFile } from "./qemu-process.ts";

let session: SessionHost;
let connection: LibvirtConnection;
const signal = AbortSignal.timeout(120_000);

beforeAll(async () => {
  session = await startSessionHost();
  connection = await connectLibvirt(session.uri);
});

afterAll(async () => {
  await connection?.close();
  await session?.stop();
});

interface SlowLibvirt extends AsyncDisposable {
  domains: Domains & { close(): Promise<void> };
  /** Lets libvirt say that it has ended what it was told to end. */
  open(): void;
}

/** As libvirt is on a busy host: it does not say that a machine has ended before it is let. */
function slowLibvirt({ isLocal = true } = {}): SlowLibvirt {
  const link = createLibvirtLink(session.uri);
  const opening = new AbortController();
  const gate = once(opening.signal, "abort");
  const slow: LibvirtLink = {
    ...link,
    use: (context, work) =>
      link.use(context, (connection, signal) => {
        const destroy: LibvirtConnection["domains"]["destroy"] = async (...args) => {
          // Also when it has noticed the end by itself, and says that there was nothing to end.
          const [destroyed] = await Promise.allSettled([connection.domains.destroy(...args), gate]);
          if (destroyed.status === "rejected") throw destroyed.reason;
        };
        return work({ ...connection, domains: { ...connection.domains, destroy } }, signal);
      }),
  };
  const domains = createDomains(slow, {
    isLocal,
    pidFile: (domain) => (isLocal ? qemuPidFile(session.uri, domain, session.env) : undefined),
  });
  return {
    domains,
    open: () => opening.abort(),
    async [Symbol.asyncDispose]() {
      opening.abort();
      await domains.close();
      await link.close();
    },
  };
}

async function start(domains: Domains, name: string): Promise<number> {
  await domains.define(tinyDomainXml(name), signal);
  await domains.start(name, signal);
  const pid = Number(await readPidFile(qemuPidFile(session.uri, name, session.env)));
  expect({ pid, isQemu: await isQemuOf(name, pid) }).toMatchObject({ isQemu: true });
  return pid;
}

const inLibvirt = async (): Promise<string[]> => (await connection.domains.list({})).map(({ name }) => name);

test("nobody waits for libvirt, or is told of a machine that it still knows, and its name can be used again", async () => {
  await using libvirt = slowLibvirt();
  const { domains } = libvirt;
  const pid = await start(domains, "one");
  await domains.kill("one", signal);
  expect(await isQemuOf("one", pid)).toBe(false);
  await domains.kill("one", signal);
  await domains.remove("one", signal);
  await domains.remove("one", signal);

  expect(await inLibvirt()).toEqual(["one"]);
  expect(await domains.list(signal)).toEqual([]);
  expect(await domains.xml("one", signal)).toBeUndefined();
  expect(await domains.status("one", signal)).toBeUndefined();

  const next = start(domains, "one");
  await expect(domains.resume("one", AbortSignal.timeout(100))).rejects.toMatchObject({ code: "aborted" });
  libvirt.open();
  expect(await next).not.toBe(pid);
  expect(await domains.status("one", signal)).toEqual({ state: "running" });
  await domains.kill("one", signal);
  await domains.remove("one", signal);
  await domains.close();
  expect(await inLibvirt()).toEqual([]);
});

test("one that was killed and is not removed is off, as soon as libvirt knows", async () => {
  await using libvirt = slowLibvirt();
  const { domains } = libvirt;
  await start(domains, "kept");
  await domains.kill("kept", signal);
  const status = domains.status("kept", signal);
  libvirt.open();
  // Failed, when libvirt has noticed before it was told to end it.
  expect(["off", "failed"]).toContain((await status)?.state);
  await domains.remove("kept", signal);
  expect(await inLibvirt()).toEqual([]);
  await domains.kill("kept", signal);
});

test("one that hangs is removed, also while libvirt waits for its answer", async () => {
  await using libvirt = slowLibvirt();
  const { domains } = libvirt;
  libvirt.open();
  const pid = await start(domains, "hung");
  process.kill(pid, "SIGSTOP");
  const asking = domains.monitor("hung", "query-status", {}, signal).catch((error: unknown) => error);
  await domains.kill("hung", signal);
  await domains.remove("hung", signal);
  expect(await asking).toBeInstanceOf(HeyvmError);
  await expect.poll(inLibvirt, { timeout: 40_000 }).toEqual([]);
});

test("where QEMU is out of reach, libvirt ends it, and is waited for", async () => {
  await using libvirt = slowLibvirt({ isLocal: false });
  const { domains } = libvirt;
  const pid = await start(domains, "away");
  const leaving = domains.kill("away", AbortSignal.timeout(100));
  await expect(leaving).rejects.toMatchObject({ code: "aborted" });
  libvirt.open();
  await domains.kill("away", signal);
  expect(await isQemuOf("away", pid)).toBe(false);
  await domains.remove("away", signal);
  expect(await inLibvirt()).toEqual([]);
});
