/** Domains, by libvirt's calls. */
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

import { AbortedError, HeyvmError } from "../../errors/index.ts";
import {
  type DomainRef,
  type DomainState,
  type LibvirtConnection,
  LibvirtError,
  type TypedValue,
} from "../../libvirt/index.ts";
import type { DomainActivity, DomainStatus, Domains } from "./host.ts";
import type { CallContext, LibvirtLink } from "./libvirt-link.ts";
import { orUndefined } from "./libvirt-storage.ts";
import { createReconnect } from "./reconnect.ts";
import { attributeOf, elementsAt, parseXml } from "./xml.ts";

/** Starting and ending QEMU can take this long on a busy host. */
const slowCallTimeoutMs = 120_000;
const reconnectTimeoutMs = 60_000;
/** A channel is free again a moment after its last client has gone; one that is not is another's. */
const channelBusyMs = 10_000;
const channelRetryMs = { first: 50, longest: 1_000 };

export function createDomains(link: LibvirtLink, isLocal: boolean): Domains {
  const listeners = new Set<(domain: string, how?: "rebooted") => void>();
  const tell = (name: string, how?: "rebooted") => {
    for (const listener of listeners) listener(name, how);
  };
  link.onConnect(async ({ events }) => {
    await events.onLifecycle(({ domain }) => tell(domain.name));
    await events.onReboot(({ domain }) => tell(domain.name, "rebooted"));
  });
  // Somebody wants to know of changes, and there may have been some meanwhile.
  const reconnect = createReconnect(async () => {
    for (const name of await domains.list(AbortSignal.timeout(reconnectTimeoutMs))) tell(name);
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
      const domain = await find(connection, name, signal);
      if (domain === undefined) throw new MachineAbsentError(name);
      return work(connection, domain, signal);
    });
  }

  const domains: Domains = {
    define: (xml, signal) =>
      link.use({ what: "defining the machine", signal, makes: true }, async ({ domains }, signal) => {
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
          await domains.createXml(xml, { paused: true, signal, timeoutMs: slowCallTimeoutMs });
        },
      ),
    powerOff: (name, signal) =>
      link.use({ what: `ending ${name}`, signal }, async (connection) => {
        const domain = await find(connection, name, signal);
        if (domain !== undefined) await powerOff(connection, domain, signal);
      }),
    remove: (name, signal) =>
      link.use({ what: `removing ${name}`, signal }, async (connection) => {
        const domain = await find(connection, name, signal);
        if (domain === undefined) return;
        await powerOff(connection, domain, signal);
        const all = { managedSave: true, snapshotsMetadata: true, checkpointsMetadata: true, nvram: true };
        await orUndefined(connection.domains.undefine(domain, { ...all, signal }), "noDomain");
      }),
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
        const domain = await find(connection, name, signal);
        if (domain === undefined) return undefined;
        const state = await orUndefined(connection.domains.state(domain, { signal }), "noDomain");
        return state === undefined ? undefined : readState(state);
      }),
    xml: (name, signal) =>
      link.use({ what: `looking at ${name}`, signal }, async (connection) => {
        const domain = await find(connection, name, signal);
        return domain === undefined
          ? undefined
          : orUndefined(connection.domains.xml(domain, { inactive: true, signal }), "noDomain");
      }),
    list: (signal) =>
      link.use({ what: "listing the machines", signal }, async ({ domains }) => {
        return (await domains.list({}, { signal })).map(({ name }) => name);
      }),
    openChannel: (name, channel, signal) =>
      on("reaching the agent of", name, signal, async ({ domains, devices }, domain) => {
        if (isLocal) {
          const path = channelPath(await domains.xml(domain, { signal }), channel);
          const socket = path === undefined ? undefined : await dial(path, signal);
          if (socket !== undefined) return socket;
        }
        // Another host's, or another user's: libvirt carries the bytes.
        return openFreeChannel(devices, domain, channel, signal);
      }),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return domains;
}

function find({ domains }: LibvirtConnection, name: string, signal: AbortSignal) {
  return orUndefined(domains.lookupByName(name, { signal }), "noDomain");
}

async function powerOff(
  connection: LibvirtConnection,
  domain: DomainRef,
  signal: AbortSignal,
): Promise<void> {
  try {
    await connection.domains.destroy(domain, { signal, timeoutMs: slowCallTimeoutMs });
  } catch (error) {
    // It does not run.
    if (!LibvirtError.hasCode(error, "operationInvalid", "noDomain")) throw error;
  }
}

/**
 * Opens a channel that an earlier connection may not have let go of yet. Never by force: to take a channel from a client
 * that has gone ends libvirtd 9 with a segmentation fault. It tells that client of the abort in the thread of the new
 * one, while its main loop, which then notices that nobody is there, frees the same client and stream.
 */
async function openFreeChannel(
  devices: LibvirtConnection["devices"],
  domain: DomainRef,
  channel: string,
  signal: AbortSignal,
): Promise<Duplex> {
  const end = performance.now() + channelBusyMs;
  for (let pauseMs = channelRetryMs.first; ; pauseMs = Math.min(2 * pauseMs, channelRetryMs.longest)) {
    try {
      return await devices.openChannel(domain, channel, { signal });
    } catch (error) {
      const isBusy = LibvirtError.hasCode(error, "operationFailed");
      if (!isBusy || signal.aborted || performance.now() > end) throw error;
    }
    await delay(pauseMs, undefined, { signal });
  }
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

/** The unix socket of a channel in a running domain's XML. */
function channelPath(xml: string, channel: string): string | undefined {
  for (const device of elementsAt(parseXml(xml), "domain", "devices", "channel")) {
    if (attributeOf(elementsAt(device, "target")[0], "name") === channel) {
      return attributeOf(elementsAt(device, "source")[0], "path");
    }
  }
  return undefined;
}

/** Connects; `undefined` when this user cannot. */
function dial(path: string, signal: AbortSignal): Promise<Duplex | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const leave = () => {
      socket.destroy();
      reject(new AbortedError("reaching the agent", signal.reason));
    };
    signal.addEventListener("abort", leave, { once: true });
    const settle = () => signal.removeEventListener("abort", leave);
    socket.once("connect", () => {
      settle();
      socket.removeAllListeners("error");
      resolve(socket);
    });
    socket.once("error", () => {
      settle();
      resolve(undefined);
    });
    if (signal.aborted) leave();
  });
}
