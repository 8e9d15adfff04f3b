/** The client against a real session daemon. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { connectLibvirt, LibvirtError, type DomainRef, type LibvirtConnection } from "./index.ts";
import { createDeferred } from "./deferred.ts";
import { echo, echoIsReady } from "./testing/echo-machine.ts";
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

/** What virsh says, as an oracle. */
async function virsh(...args: string[]): Promise<string> {
  const { stdout } = await host.runAs(["virsh", "--connect", "qemu:///session", ...args]);
  return stdout.trim();
}

describe("the host", () => {
  it("tells versions, name, capabilities and size as virsh does", async () => {
    const version = await connection.host.libraryVersion();
    const oracle = await virsh("version", "--daemon");
    expect(oracle).toContain(`Running against daemon: ${version.text}`);
    expect(oracle).toContain(`Running hypervisor: QEMU ${(await connection.host.hypervisorVersion()).text}`);
    expect(await connection.host.hostname()).toBe(await virsh("hostname"));
    expect((await connection.host.capabilities()).trim()).toBe(await virsh("capabilities"));
    expect((await connection.host.domainCapabilities({ virtType: "qemu" })).trim()).toBe(
      await virsh("domcapabilities", "--virttype", "qemu"),
    );
    const node = await connection.host.nodeInfo();
    const nodeOracle = await virsh("nodeinfo");
    expect(nodeOracle).toMatch(new RegExp(`CPU model: +${node.model}\n`));
    expect(nodeOracle).toMatch(new RegExp(`CPU\\(s\\): +${node.cpus}\n`));
    expect(nodeOracle).toMatch(new RegExp(`Memory size: +${node.memoryBytes / 1024} KiB`));
    expect(await connection.host.supportsFeature(10)).toBe(true);
    expect(await connection.host.supportsFeature(12345)).toBe(false);
  });
});

describe("a domain", () => {
  it("is defined, found, described, started paused, resumed, destroyed and undefined", async () => {
    const { domains } = connection;
    const defined = await domains.defineXml(tinyDomainXml("life"), { validate: true });
    expect(defined.id).toBe(-1);
    expect(defined.uuid).toBe(await virsh("domuuid", "life"));
    expect(await domains.lookupByUuid(defined.uuid)).toEqual(defined);
    expect(await domains.list({ active: false })).toContainEqual(defined);
    expect(await domains.state(defined)).toEqual({ state: "shutoff", reason: "unknown" });

    const running = await domains.create(defined, { paused: true });
    expect(running.id).toBeGreaterThan(0);
    expect(await domains.state(running)).toEqual({ state: "paused", reason: "user" });
    await domains.resume(running);
    expect(await virsh("domstate", "life", "--reason")).toBe("running (unpaused)");
    await domains.suspend(running);
    expect(await domains.list({ states: ["paused"] })).toContainEqual(running);
    expect(await domains.list({ states: ["running"] })).not.toContainEqual(running);
    expect(await domains.isPersistent(running)).toBe(true);
    expect((await domains.xml(running)).trim()).toBe(await virsh("dumpxml", "life"));
    expect((await domains.xml(running, { inactive: true })).trim()).toBe(
      await virsh("dumpxml", "life", "--inactive"),
    );

    await domains.destroy(running);
    expect(await domains.state(defined)).toEqual({ state: "shutoff", reason: "destroyed" });
    await domains.undefine(defined, { managedSave: true, snapshotsMetadata: true, nvram: true });
    await expect(domains.lookupByName("life")).rejects.toMatchObject({ codeName: "noDomain", code: 42 });
  });

  it("is shut down by its power button, when its guest obeys", async () => {
    await using running = await withDomain(connection, "obedient", echo(host));
    const { devices, domains, events } = connection;
    const ended = createDeferred<string>();
    await using _subscription = await events.onLifecycle(
      ({ event, detail }) => event === "stopped" && ended.resolve(detail),
      { domain: running.domain },
    );
    const console = await devices.openConsole(running.domain);
    await domains.resume(running.domain);
    for await (const chunk of console) if (String(chunk).includes(echoIsReady)) break;
    await expect(domains.shutdown(running.domain, { method: "agent" })).rejects.toBeInstanceOf(LibvirtError);
    await domains.shutdown(running.domain);
    expect(await ended.promise).toBe("shutdown");
    expect(await domains.state(running.domain)).toEqual({ state: "shutoff", reason: "shutdown" });
    await expect(domains.shutdown(running.domain)).rejects.toMatchObject({ codeName: "operationInvalid" });
  });

  it("that is transient is gone when it ends", async () => {
    const domain = await connection.domains.createXml(tinyDomainXml("transient"), { paused: true });
    expect(await connection.domains.isPersistent(domain)).toBe(false);
    await connection.domains.destroy(domain, { graceful: true });
    expect((await connection.domains.list()).map(({ name }) => name)).not.toContain("transient");
  });

  it("keeps metadata, a title and a description", async () => {
    await using temporary = await withDomain(connection, "labelled");
    const { metadata } = connection;
    const namespace = "https://example.org/heyvm";
    await expect(metadata.get(temporary.domain, namespace)).rejects.toMatchObject({
      codeName: "noDomainMetadata",
    });
    const element = { prefix: "heyvm", namespace, xml: "<spec>ümläut &amp; &lt;xml&gt;</spec>" };
    await metadata.set(temporary.domain, element, { config: true });
    expect(await metadata.get(temporary.domain, namespace)).toBe(element.xml);
    expect(await connection.domains.xml(temporary.domain)).toContain("ümläut &amp; &lt;xml&gt;");
    await metadata.remove(temporary.domain, namespace);
    await expect(metadata.get(temporary.domain, namespace)).rejects.toBeInstanceOf(LibvirtError);
    await metadata.setTitle(temporary.domain, "A title");
    await metadata.setDescription(temporary.domain, "Some words");
    expect(await virsh("desc", "labelled", "--title")).toBe("A title");
    expect(await virsh("desc", "labelled")).toBe("Some words");
  });

  it("has statistics by libvirt's names", async () => {
    await using running = await withDomain(connection, "counted", { start: true });
    const values = await connection.statistics.of(running.domain);
    expect(values).toMatchObject({ "state.state": 3, "vcpu.current": 1, "balloon.current": 32 * 1024 });
    expect(values["cpu.time"]).toBeTypeOf("number");
    const all = await connection.statistics.all({ groups: ["state"], noWait: true });
    expect(all.map(({ domain }) => domain.name)).toContain("counted");
    expect(Object.keys(all[0]?.values ?? {})).toEqual(["state.state", "state.reason"]);
  });

  it("takes QMP commands, and QEMU's errors come as such", async () => {
    await using running = await withDomain(connection, "monitored", { start: true });
    const { qemu } = connection;
    expect(await qemu.monitorCommand(running.domain, { execute: "query-status" })).toMatchObject({
      status: "prelaunch",
    });
    await expect(qemu.monitorCommand(running.domain, { execute: "no-such-command" })).rejects.toMatchObject({
      name: "QemuCommandError",
      errorClass: "CommandNotFound",
    });
    await expect(qemu.agentCommand(running.domain, { execute: "guest-ping" })).rejects.toMatchObject({
      codeName: "operationInvalid",
    });
  });

  it("gets and loses devices while it runs", async () => {
    await using running = await withDomain(connection, "changed", { start: true });
    const { devices, domains } = connection;
    const device = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>";
    await devices.attach(running.domain, device, { config: true });
    expect(await domains.xml(running.domain, { inactive: true })).toContain("/dev/urandom");
    expect(await domains.xml(running.domain)).not.toContain("/dev/urandom");
    await devices.detach(running.domain, device, { config: true });
    expect(await domains.xml(running.domain, { inactive: true })).not.toContain("/dev/urandom");
    await expect(devices.blockResize(running.domain, "vda", 1024)).rejects.toMatchObject({
      codeName: "invalidArgument",
    });
  });

  it("is saved, and goes on from there", async () => {
    await using running = await withDomain(connection, "saved", { start: true });
    const { saves, domains } = connection;
    await saves.managedSave(running.domain, { restoreAs: "paused" });
    expect(await saves.hasManagedSave(running.domain)).toBe(true);
    expect(await domains.list({ managedSave: true })).toHaveLength(1);
    const restored = await domains.create(running.domain);
    expect(await domains.state(restored)).toMatchObject({ state: "paused" });
    expect(await saves.hasManagedSave(running.domain)).toBe(false);
    expect(await saves.jobStatistics(restored)).toMatchObject({ type: "none" });
    await expect(saves.abortJob(restored)).rejects.toMatchObject({ codeName: "operationInvalid" });
  });
});

describe("mistakes", () => {
  it.each([
    ["<domain", { codeName: "xmlDetail" }],
    ["<domain type='qemu'/>", { code: expect.any(Number) }],
    ["", { code: expect.any(Number) }],
    ["<pool/>", { codeName: "xmlError" }],
  ])("in the XML %s are told", async (xml, expected) => {
    await expect(connection.domains.defineXml(xml)).rejects.toMatchObject(expected);
  });

  it("with a UUID are found before anything is sent", async () => {
    const bad: DomainRef = { name: "x", uuid: "not-a-uuid", id: 1 };
    await expect(connection.domains.destroy(bad)).rejects.toThrow('not a UUID: "not-a-uuid"');
  });

  it("with a name that has quotes, newlines or XML in it do no harm", async () => {
    for (const name of ["'", "a\nb", "<xml>", "../x", "", "ü".repeat(1000)]) {
      await expect(connection.domains.lookupByName(name)).rejects.toMatchObject({ codeName: "noDomain" });
    }
  });
});

describe("many calls at the same time", () => {
  it("are all answered, each with its own answer", async () => {
    await using _domain = await withDomain(connection, "busy");
    const lookups = Array.from({ length: 200 }, async (_, index) => {
      const name = index % 2 === 0 ? "busy" : `absent-${index}`;
      const outcome = await connection.domains.lookupByName(name).catch((error: unknown) => error);
      return outcome instanceof Error ? outcome.message.includes(`'${name}'`) : name === "busy";
    });
    expect(new Set(await Promise.all(lookups))).toEqual(new Set([true]));
  });
});
