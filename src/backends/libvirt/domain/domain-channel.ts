/** A running domain's virtio channel, as a stream of bytes. */
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

import { AbortedError } from "../../../errors/index.ts";
import { type DomainRef, type LibvirtConnection, LibvirtError } from "../../../libvirt/index.ts";
import { attributeOf, elementsAt, parseXml } from "./xml.ts";

/** A channel is free again a moment after its last client has gone; one that is not is another's. */
const channelBusyMs = 10_000;
const channelRetryMs = { first: 50, longest: 1_000 };

/** By its socket, where this user can open it; else libvirt carries the bytes. */
export async function openDomainChannel(
  { domains, devices }: Pick<LibvirtConnection, "domains" | "devices">,
  domain: DomainRef,
  channel: string,
  { isLocal, signal }: { isLocal: boolean; signal: AbortSignal },
): Promise<Duplex> {
  if (isLocal) {
    const path = channelPath(await domains.xml(domain, { signal }), channel);
    const socket = path === undefined ? undefined : await dial(path, signal);
    if (socket !== undefined) return socket;
  }
  // Another host's, or another user's.
  return openFreeChannel(devices, domain, channel, signal);
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
