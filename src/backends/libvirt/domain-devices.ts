/** The devices of a domain, each as an object for the XML builder. */
import { agentChannel } from "./names.ts";

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
  const netdev = {
    type: "stream",
    id: "heyvm0",
    server: false,
    addr: { type: "unix", path: network.socketPath },
  };
  const device = {
    driver: "virtio-net-pci",
    netdev: "heyvm0",
    mac: network.macAddress,
    // libvirt counts slots of the root bus from 1 and does not know of this device: a slot far away.
    bus: "pcie.0",
    addr: x86 ? "0x18" : "0x1c",
  };
  const args = ["-netdev", JSON.stringify(netdev), "-device", JSON.stringify(device)];
  return { commandLine: { "qemu:arg": args.map((value) => ({ "@value": value })) } };
}

/** A serial console for people (`virsh console`) whose output is also kept. */
export function consoleDevices(logPath: string): { serial: Element } {
  return { serial: { "@type": "pty", log: { "@file": logPath, "@append": "on" } } };
}

export function channelDevice(): Element {
  return { "@type": "unix", target: { "@type": "virtio", "@name": agentChannel } };
}
