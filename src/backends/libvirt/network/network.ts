/** How a machine gets a network, when it is to have one. */
import type { NetworkShape } from "../domain/domain-devices.ts";
import type { LibvirtHost } from "../host.ts";
import { macAddressFor } from "../names.ts";
import { hasPasst, startPasst, stopPasst } from "./passt.ts";

export interface MachineNetwork {
  shape: NetworkShape;
  warnings: readonly string[];
}

const loopbackWarning = "the guest's network can reach services on this host's loopback and its LAN";

/** Debian 12's passt (2023-03-09) connects to 127.0.0.1 for a guest that routes it into its card. */
const passtWarning =
  "the guest reaches this host's LAN; an old passt also lets root in it reach services on this host's loopback";

/**
 * Prepares the host's side of a network. passt where QEMU runs as this user: it can be told not to offer the
 * host's loopback at the gateway's address. Elsewhere QEMU's own user-mode network, with a warning.
 */
export async function openNetwork(
  host: LibvirtHost,
  folder: string,
  id: string,
  signal: AbortSignal,
): Promise<MachineNetwork> {
  const macAddress = macAddressFor(id);
  if (!(await canUsePasst(host, signal))) {
    const why = `passt can only be used where QEMU runs as this user, which is not so at ${host.uri}`;
    return { shape: { kind: "slirp", macAddress }, warnings: [`${loopbackWarning}: ${why}`] };
  }
  if (!(await hasPasst())) {
    const warning = `${loopbackWarning}: passt, which would prevent the former, is not installed`;
    return { shape: { kind: "slirp", macAddress }, warnings: [warning] };
  }
  return {
    shape: { kind: "passt", socketPath: await startPasst(folder, id, signal), macAddress },
    warnings: [passtWarning],
  };
}

/** Whether machines there can use a passt of ours, which is so where QEMU runs as this user. */
export async function canUsePasst(host: LibvirtHost, signal: AbortSignal): Promise<boolean> {
  return host.isLocal && (await host.capabilities(signal)).qemuAccount === undefined;
}

/** Ends what `openNetwork` began. Idempotent. */
export async function closeNetwork(folder: string, id: string): Promise<void> {
  await stopPasst(folder, id);
}
