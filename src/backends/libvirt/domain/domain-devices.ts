/** The devices of a domain, each as an object for the XML builder. */
import { agentChannel } from "../../guest/guest-service.ts";

export interface DiskShape {
  path: string;
  format: "qcow2" | "raw";
  readOnly: boolean;
}

export interface MountShape {
  tag: string;
  hostPath: string;
  readOnly: boolean;
}

/**
 * `none`: no interface at all. `passt`: a passt process that we started serves `socketPath`. `slirp`: QEMU's own user-mode
 * network, from which the guest can reach the host's loopback.
 */
export type NetworkShape =
  | { kind: "none" }
  | { kind: "passt"; socketPath: string; macAddress: string }
  | { kind: "slirp"; macAddress: string };

type Element = Record<string, unknown>;

/**
 * A machine that is a template, or a clone of one, has ports for devices that are plugged in while it runs: a mounted 9p
 * device cannot be migrated, and a card's address is the clone's own. libvirt puts its own devices on the first ports.
 */
const portsOfLibvirt = 5;
const networkPort = portsOfLibvirt + 1;
/** As many folders can be mounted into a clone. */
export const maxCloneMounts = 8;
const allPorts = networkPort + maxCloneMounts;

export function pciControllers(): Element[] {
  return Array.from({ length: allPorts + 1 }, (_, index) => ({
    "@type": "pci",
    "@index": index,
    "@model": index === 0 ? "pcie-root" : "pcie-root-port",
  }));
}

/** The host's side of what is plugged in later, as QEMU's arguments: QEMU may open nothing new once it runs. */
export function laterBackends(mounts: readonly MountShape[], network: NetworkShape): string[] {
  const args = mounts.flatMap((mount, index) => {
    // QEMU's own quoting: a comma is doubled.
    const path = mount.hostPath.replaceAll(",", ",,");
    const access = mount.readOnly ? ",readonly=on" : "";
    // What `squash` and `remap` are, see `mountDevice`.
    return ["-fsdev", `local,id=heyvmfs${index},path=${path},security_model=none,multidevs=remap${access}`];
  });
  const netdev = networkBackend(network);
  return netdev === undefined ? args : [...args, "-netdev", JSON.stringify(netdev)];
}

/** The guest's side of the same, as arguments of QMP's `device_add`. */
export function laterDevices(mounts: readonly MountShape[], network: NetworkShape): Element[] {
  const devices: Element[] = mounts.map(({ tag }, index) => ({
    driver: "virtio-9p-pci",
    id: `heyvmmount${index}`,
    fsdev: `heyvmfs${index}`,
    mount_tag: tag,
    bus: `pci.${networkPort + 1 + index}`,
  }));
  if (network.kind !== "none") {
    const { macAddress } = network;
    devices.push({
      driver: "virtio-net-pci",
      id: "heyvmnet",
      netdev: networkId,
      mac: macAddress,
      bus: `pci.${networkPort}`,
    });
  }
  return devices;
}

export function diskDevice(disk: DiskShape, index: number): Element {
  return {
    "@type": "file",
    "@device": "disk",
    driver: {
      "@name": "qemu",
      "@type": disk.format,
      // What the guest frees is freed on the host.
      ...(disk.readOnly ? {} : { "@discard": "unmap" }),
    },
    source: { "@file": disk.path },
    target: { "@dev": `vd${String.fromCharCode(97 + index)}`, "@bus": "virtio" },
    ...(disk.readOnly ? { readonly: "" } : {}),
  };
}

/**
 * `squash` lets what the guest writes be ordinary files of the QEMU's user, whatever owner the guest asks for: readable,
 * executable and linkable on the host. (`mapped` would make symbolic links plain files and lose the execute bit.)
 */
export function mountDevice(mount: MountShape): Element {
  return {
    "@type": "mount",
    "@accessmode": "squash",
    // Files of two file systems below one mount must not look like one file: tar and cp would take them for hard links.
    "@multidevs": "remap",
    source: { "@dir": mount.hostPath },
    target: { "@dir": mount.tag },
    ...(mount.readOnly ? { readonly: "" } : {}),
  };
}

export function networkDevice(
  network: NetworkShape,
  x86: boolean,
): { interface?: Element | undefined; commandLine?: Element | undefined } {
  if (network.kind === "none") return {};
  if (network.kind === "slirp") {
    const mac = { "@address": network.macAddress };
    return { interface: { "@type": "user", mac, model: { "@type": "virtio" } } };
  }
  // libvirt 9 can start passt itself but not without its way to the host's loopback, hence a passt of our own.
  const netdev = networkBackend(network);
  const device = {
    driver: "virtio-net-pci",
    netdev: networkId,
    mac: network.macAddress,
    // libvirt counts slots of the root bus from 1 and does not know of this device: a slot far away.
    bus: "pcie.0",
    addr: x86 ? "0x18" : "0x1c",
  };
  const args = ["-netdev", JSON.stringify(netdev), "-device", JSON.stringify(device)];
  return { commandLine: { "qemu:arg": args.map((value) => ({ "@value": value })) } };
}

const networkId = "heyvm0";

function networkBackend(network: NetworkShape): Element | undefined {
  if (network.kind === "none") return undefined;
  if (network.kind === "slirp") return { type: "user", id: networkId };
  const addr = { type: "unix", path: network.socketPath };
  return { type: "stream", id: networkId, server: false, addr };
}

/** A serial console for people (`virsh console`) whose output is also kept. */
export function consoleDevices(logPath: string): { serial: Element } {
  return { serial: { "@type": "pty", log: { "@file": logPath, "@append": "on" } } };
}

export function channelDevice(): Element {
  return { "@type": "unix", target: { "@type": "virtio", "@name": agentChannel } };
}
