/** Events of a real session daemon. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { createDeferred } from "./deferred.ts";
import {
  connectLibvirt,
  LibvirtConnectionLostError,
  type LibvirtConnection,
  type LifecycleEvent,
} from "./index.ts";
import { startSessionHost, type SessionHost } from "./testing/session-daemon.ts";
import { tinyDomainXml, withDomain } from "./testing/tiny-domain.ts";

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

describe("events", () => {
  it("tell a domain's life in libvirt's words", async () => {
    const events: LifecycleEvent[] = [];
    await using _subscription = await connection.events.onLifecycle((event) => events.push(event));
    const last = createDeferred<void>();
    await using _second = await connection.events.onLifecycle((event) => {
      if (event.event === "undefined" && event.domain.name === "watched") last.resolve();
    });
    {
      await using running = await withDomain(connection, "watched", { start: true });
      await connection.domains.resume(running.domain);
    }
    await last.promise;
    const told = events
      .filter(({ domain }) => domain.name === "watched")
      .map((e) => `${e.event} ${e.detail}`);
    for (const expected of [
      "defined added",
      "started booted",
      "suspended paused",
      "resumed unpaused",
      "stopped destroyed",
      "undefined removed",
    ]) {
      expect(told).toContain(expected);
    }
  });

  it("tell that a guest was reset", async () => {
    await using running = await withDomain(connection, "reset", { start: true });
    const names: string[] = [];
    await using _subscription = await connection.events.onReboot(({ domain }) => names.push(domain.name));
    await connection.domains.resume(running.domain);
    await connection.domains.reset(running.domain);
    await expect.poll(() => names).toContain("reset");
  });

  it("of one domain are only that domain's, and none comes after the end of the subscription", async () => {
    await using one = await withDomain(connection, "one");
    await using two = await withDomain(connection, "two");
    const names: string[] = [];
    const subscription = await connection.events.onLifecycle(({ domain }) => names.push(domain.name), {
      domain: one.domain,
    });
    for (const { domain } of [two, one]) {
      await connection.domains.create(domain, { paused: true });
      await connection.domains.destroy(domain);
    }
    // An event may come after the reply to the call that caused it: the next call's comes later still.
    await using _all = await connection.events.onLifecycle(() => undefined);
    await subscription.unsubscribe();
    const count = names.length;
    await connection.domains.create(one.domain, { paused: true });
    await connection.domains.destroy(one.domain);
    expect(new Set(names)).toEqual(new Set(["one"]));
    expect(names).toHaveLength(count);
  });

  it("can be iterated until the signal aborts, and fail with the connection", async () => {
    const controller = new AbortController();
    const seen: string[] = [];
    for await (const { event, domain } of eventsAfter(controller.signal)) {
      if (domain.name !== "iterated") continue;
      seen.push(event);
      if (event === "undefined") controller.abort();
    }
    expect(seen).toEqual(["defined", "undefined"]);

    const other = await connectLibvirt(host.uri);
    const next = other.events
      .lifecycle()
      .next()
      .catch((error: unknown) => error);
    await other.host.hostname();
    await other.close();
    expect(await next).toBeInstanceOf(LibvirtConnectionLostError);
  });
});

async function* eventsAfter(signal: AbortSignal): AsyncGenerator<LifecycleEvent> {
  const events = connection.events.lifecycle({ signal });
  const first = events.next();
  const domain = await connection.domains.defineXml(tinyDomainXml("iterated"));
  await connection.domains.undefine(domain);
  const { value } = await first;
  if (value !== undefined) yield value;
  yield* events;
}
