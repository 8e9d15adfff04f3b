/** Domains, by libvirt's calls. */
import { timeoutSignal } from "../../../core/deadline.ts";
import { HeyvmError } from "../../../errors/index.ts";
import {
  type DomainRef,
  type DomainState,
  type LibvirtConnection,
  type TypedValue,
} from "../../../libvirt/index.ts";
import { openDomainChannel } from "./domain-channel.ts";
import type { DomainActivity, DomainStatus, Domains, LibvirtHost } from "../host.ts";
import type { CallContext, LibvirtLink } from "../connection/libvirt-link.ts";
import { orUndefined } from "../storage/libvirt-storage.ts";
import { createQuickEnds, findDomain, powerOff, type QuickEnds } from "./quick-end.ts";
import { createReconnect } from "../connection/reconnect.ts";
import { elementsAt, parseXml, textOf } from "./xml.ts";

/** Starting and ending QEMU can take this long on a busy host. */
const slowCallTimeoutMs = 120_000;
const reconnectTimeoutMs = 60_000;

export interface DomainsOptions {
  /** Whether libvirt runs on this host. */
  isLocal: boolean;
  /** As `LibvirtHost` has it. */
  pidFile: LibvirtHost["pidFile"];
}

export function createDomains(
  link: LibvirtLink,
  { isLocal, pidFile }: DomainsOptions,
): Domains & Pick<QuickEnds, "close"> {
  const listeners = new Set<(domain: string, how?: "rebooted") => void>();
  const ends = createQuickEnds(link, pidFile);
  const tell = (name: string, how?: "rebooted") => {
    for (const listener of listeners) listener(name, how);
  };
  link.onConnect(async ({ events }) => {
    await events.onLifecycle(({ domain }) => tell(domain.name));
    await events.onReboot(({ domain }) => tell(domain.name, "rebooted"));
  });
  // Somebody wants to know of changes, and there may have been some meanwhile.
  const reconnect = createReconnect(async () => {
    for (const name of await domains.list(timeoutSignal(reconnectTimeoutMs))) tell(name);
  }, link.closed);
  link.onLost(() => {
    if (listeners.size > 0) reconnect.begin();
  });

  /** Works on a domain that has to exist. */
  function on<T>(
    what: string,
    name: string,
    signal: AbortSignal,
    work: (connection: LibvirtConnection, domain: DomainRef, signal: AbortSignal) => Promise<T>,
    more: Pick<CallContext, "makes"> = {},
  ): Promise<T> {
    return link.use({ ...more, what: `${what} ${name}`, signal }, async (connection, signal) => {
      await ends.settled(name, signal);
      const domain = await findDomain(connection, name, signal);
      if (domain === undefined) throw new MachineAbsentError(name);
      return work(connection, domain, signal);
    });
  }

  const domains: ReturnType<typeof createDomains> = {
    define: (xml, signal) =>
      link.use({ what: "defining the machine", signal, makes: true }, async ({ domains }, signal) => {
        await ends.settled(domainName(xml), signal);
        await domains.defineXml(xml, { signal, timeoutMs: slowCallTimeoutMs });
      }),
    start: (name, signal) =>
      on(
        "starting",
        name,
        signal,
        async ({ domains }, domain, signal) => {
          await domains.create(domain, { signal, timeoutMs: slowCallTimeoutMs });
        },
        { makes: true },
      ),
    startPaused: (xml, signal) =>
      link.use(
        { what: "starting the machine", signal, repeatable: false, makes: true },
        async ({ domains }, signal) => {
          await ends.settled(domainName(xml), signal);
          await domains.createXml(xml, { paused: true, signal, timeoutMs: slowCallTimeoutMs });
        },
      ),
    powerOff: (name, signal) =>
      link.use({ what: `ending ${name}`, signal }, async (connection) => {
        await ends.settled(name, signal);
        await powerOff(connection, name, signal);
      }),
    kill: ends.kill,
    remove: ends.remove,
    close: ends.close,
    setTitle: (name, title, signal) =>
      on("naming", name, signal, ({ metadata }, domain) =>
        metadata.setTitle(domain, title, { live: true, config: true, signal }),
      ),
    suspend: (name, signal) =>
      on("pausing", name, signal, ({ domains }, domain) => domains.suspend(domain, { signal })),
    reset: (name, signal) =>
      on("resetting", name, signal, ({ domains }, domain) => domains.reset(domain, { signal })),
    resume: (name, signal) =>
      on("resuming", name, signal, ({ domains }, domain) => domains.resume(domain, { signal })),
    monitor: (name, execute, args, signal) =>
      on(`asking QEMU for ${execute} of`, name, signal, ({ qemu }, domain) =>
        qemu.monitorCommand(domain, { execute, arguments: args }, { signal }),
      ),
    activity: (name, signal) =>
      on("watching", name, signal, async ({ statistics }, domain) => {
        return readActivity(await statistics.of(domain, { groups: ["cpu", "block"], signal }));
      }),
    status: (name, signal) =>
      link.use({ what: `looking at ${name}`, signal }, async (connection) => {
        if (await ends.isGone(name, signal)) return undefined;
        const domain = await findDomain(connection, name, signal);
        if (domain === undefined) return undefined;
        const state = await orUndefined(connection.domains.state(domain, { signal }), "noDomain");
        return state === undefined ? undefined : readState(state);
      }),
    xml: (name, signal) =>
      link.use({ what: `looking at ${name}`, signal }, async (connection) => {
        if (await ends.isGone(name, signal)) return undefined;
        const domain = await findDomain(connection, name, signal);
        return domain === undefined
          ? undefined
          : orUndefined(connection.domains.xml(domain, { inactive: true, signal }), "noDomain");
      }),
    list: (signal) =>
      link.use({ what: "listing the machines", signal }, async ({ domains }) => {
        const names = (await domains.list({}, { signal })).map(({ name }) => name);
        return names.filter((name) => !ends.isBeingForgotten(name));
      }),
    openChannel: (name, channel, signal) =>
      on("reaching the agent of", name, signal, (connection, domain) =>
        openDomainChannel(connection, domain, channel, { isLocal, signal }),
      ),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return domains;
}

function domainName(xml: string): string {
  return textOf(elementsAt(parseXml(xml), "domain")[0], "name") ?? "";
}

/** There is no such domain (any more). */
class MachineAbsentError extends HeyvmError {
  constructor(domain: string) {
    super("wrong_state", `libvirt has no domain ${domain}`, {
      hint: "heyvm rm removes the sandbox; somebody has removed its machine",
      details: { domain },
    });
  }
}

function readState({ state, reason }: DomainState): DomainStatus {
  switch (state) {
    case "running":
    case "blocked":
    case "pmsuspended":
    // Powering off, and not there yet.
    case "shutdown":
      return { state: "running" };
    case "paused":
      // The disks' error policy pauses the machine; by far the most frequent cause is a full disk.
      if (/io.?error/i.test(reason)) {
        const reason = "the host could not write its disk, most likely because no space is left";
        return { state: "failed", reason, code: "disk_full" };
      }
      if (/crash/i.test(reason)) return { state: "failed", reason: "the guest's kernel panicked" };
      return { state: "paused" };
    case "crashed":
      return { state: "failed", reason: "the guest crashed" };
    case "shutoff":
      if (/crash/i.test(reason)) return { state: "failed", reason: "QEMU ended unexpectedly" };
      return { state: "off" };
    default:
      return { state: "failed", reason: `libvirt calls its state ${state} (${reason})` };
  }
}

/** `cpu.time` in nanoseconds, `block.<n>.rd.reqs` and `block.<n>.wr.reqs`. */
function readActivity(values: Readonly<Record<string, TypedValue>>): DomainActivity {
  let diskRequests = 0;
  for (const [name, value] of Object.entries(values)) {
    if (/^block\.\d+\.(rd|wr)\.reqs$/.test(name)) diskRequests += Number(value);
  }
  return { cpuSeconds: Number(values["cpu.time"] ?? 0) / 1e9, diskRequests };
}
