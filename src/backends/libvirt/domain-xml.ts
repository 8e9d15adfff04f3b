/** The domain XML of a machine. Golden files in `golden/` show what comes out. */
import { XMLBuilder } from "fast-xml-parser";

import type { Architecture } from "../../images/image.ts";
import { type DomainMetadata, metadataElement } from "./domain-metadata.ts";
import { channelDevice, consoleDevices, diskDevice, mountDevice, networkDevice } from "./domain-devices.ts";
import type { DiskShape, MountShape, NetworkShape } from "./domain-devices.ts";

export type Accelerator = "kvm" | "tcg";

/** Everything that decides a domain's XML. */
export interface DomainShape {
  name: string;
  /** Stays the same when a domain is defined again. */
  uuid: string;
  metadata: DomainMetadata;
  /** For people who look with other tools. */
  title: string;
  architecture: Architecture;
  accelerator: Accelerator;
  /** Whole virtual CPUs. */
  vcpus: number;
  memoryBytes: number;
  /** In the guest: vda, vdb, … */
  disks: readonly DiskShape[];
  mounts: readonly MountShape[];
  network: NetworkShape;
  /** What the guest prints on its serial console is appended here, by virtlogd, which keeps it small. */
  consoleLogPath: string;
}

/** QEMU's cache of translated code, per machine, under emulation. It has no bound by default. */
const translationCacheMiB = 128;

const builder = new XMLBuilder({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  suppressEmptyNode: true,
  suppressBooleanAttributes: false,
  format: true,
  indentBy: "  ",
});

/** Writes the domain XML. Every value goes through the XML builder, which escapes it. */
export function buildDomainXml(shape: DomainShape): string {
  const kvm = shape.accelerator === "kvm";
  const x86 = shape.architecture === "x86_64";
  const network = networkDevice(shape.network, x86);
  return builder.build({
    domain: {
      "@type": kvm ? "kvm" : "qemu",
      ...(network.commandLine === undefined
        ? {}
        : { "@xmlns:qemu": "http://libvirt.org/schemas/domain/qemu/1.0" }),
      name: shape.name,
      uuid: shape.uuid,
      // A new generation id makes the guest's kernel reseed its random numbers.
      genid: "",
      title: shape.title,
      metadata: metadataElement(shape.metadata),
      memory: { "@unit": "KiB", "#text": Math.ceil(shape.memoryBytes / 1024) },
      vcpu: { "@placement": "static", "#text": shape.vcpus },
      os: operatingSystem(x86),
      features: {
        acpi: "",
        ...(x86 ? { apic: "", vmport: { "@state": "off" } } : {}),
        ...(kvm ? {} : { tcg: { "tb-cache": { "@unit": "MiB", "#text": translationCacheMiB } } }),
      },
      cpu: kvm ? { "@mode": "host-passthrough", "@check": "none" } : { "@mode": "maximum" },
      clock: {
        "@offset": "utc",
        ...(kvm && x86 ? { timer: { "@name": "hpet", "@present": "no" } } : {}),
      },
      on_poweroff: "destroy",
      on_reboot: "restart",
      on_crash: "destroy",
      devices: {
        disk: shape.disks.map((disk, index) => diskDevice(disk, index)),
        // Without this q35 gets a USB controller.
        controller: { "@type": "usb", "@model": "none" },
        filesystem: shape.mounts.map(mountDevice),
        interface: network.interface,
        ...consoleDevices(shape.consoleLogPath),
        channel: channelDevice(),
        // Gives memory that the guest frees back to the host.
        memballoon: { "@model": "virtio", "@freePageReporting": "on" },
        rng: { "@model": "virtio", backend: { "@model": "random", "#text": "/dev/urandom" } },
      },
      "qemu:commandline": network.commandLine,
    },
  });
}

function operatingSystem(x86: boolean): Record<string, unknown> {
  if (x86) return { type: { "@arch": "x86_64", "@machine": "q35", "#text": "hvm" }, boot: { "@dev": "hd" } };
  return {
    "@firmware": "efi",
    type: { "@arch": "aarch64", "@machine": "virt", "#text": "hvm" },
    boot: { "@dev": "hd" },
  };
}
