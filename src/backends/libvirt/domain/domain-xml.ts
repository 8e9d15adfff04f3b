/** The domain XML of a machine. Golden files in `golden/` show what comes out. */
import { XMLBuilder } from "fast-xml-parser";

import type { Architecture } from "../../../images/image.ts";
import { type DomainMetadata, metadataElement } from "./domain-metadata.ts";
import {
  channelDevice,
  consoleDevices,
  diskDevice,
  laterBackends,
  mountDevice,
  networkDevice,
  pciControllers,
} from "./domain-devices.ts";
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
  /** How large it can become while it runs, by what is plugged in. */
  room?: { vcpus: number; memoryBytes: number } | undefined;
  /** In the guest: vda, vdb, … */
  disks: readonly DiskShape[];
  mounts: readonly MountShape[];
  network: NetworkShape;
  /** What the guest prints on its serial console is appended here, by virtlogd, which keeps it small. */
  consoleLogPath: string;
  /** QEMU's cache of translated code, under emulation; absent: by what the machine is. It has no bound by itself. */
  translationCacheBytes?: number | undefined;
  /** Absent: memory that ends with the machine. */
  memoryImage?: MemoryImage | undefined;
}

/** Guest memory that is a file. */
export interface MemoryImage {
  path: string;
  /**
   * `written`: by the machine that becomes a template. `private`: a clone starts from it, waits for the template's state,
   * and keeps what it writes to itself; mounts and network are plugged in afterwards (`laterDevices`).
   */
  use: "written" | "private";
}

const MiB = 1024 ** 2;
/** What a boot runs fits into it: with 20 MiB it takes twice as long. */
const bootCacheBytes = 128 * MiB;
/** A clone has no boot to run; its cache is most of the memory that it has for itself. */
const cloneCacheShare = 22 / 1024;
const leastCacheBytes = 16 * MiB;
/** Who wants a machine that is larger than usual means to run more in it. */
const roomyCacheBytes = 48 * MiB;

const builder = new XMLBuilder({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  suppressEmptyNode: true,
  suppressBooleanAttributes: false,
  format: true,
  indentBy: "  ",
});

/**
 * What guests would use to be fast, and TCG is slow at: `rep movsb` byte by byte (erms, fsrm), a page walk of five levels
 * (la57), a translation block that ends at each access to user memory (smap). AVX stays, though SSE would be faster: programs
 * are built for it, and Linux's crypto drivers crash where a CPU has AVX but not `xsave`.
 */
const slowWhenEmulated = ["erms", "fsrm", "la57", "smap"];

/** Writes the domain XML. Every value goes through the XML builder, which escapes it. */
export function buildDomainXml(shape: DomainShape): string {
  const kvm = shape.accelerator === "kvm";
  const x86 = shape.architecture === "x86_64";
  const image = shape.memoryImage;
  const { filesystem, network, ...later } = image === undefined ? fromTheStart(shape) : plugged(shape, image);
  return builder.build({
    domain: {
      "@type": kvm ? "kvm" : "qemu",
      ...(later.commandLine === undefined
        ? {}
        : { "@xmlns:qemu": "http://libvirt.org/schemas/domain/qemu/1.0" }),
      name: shape.name,
      uuid: shape.uuid,
      // A new generation id makes the guest's kernel reseed its random numbers.
      genid: "",
      title: shape.title,
      metadata: metadataElement(shape.metadata),
      memory: { "@unit": "KiB", "#text": Math.ceil(shape.memoryBytes / 1024) },
      vcpu: {
        "@placement": "static",
        ...(shape.room === undefined ? {} : { "@current": shape.vcpus }),
        "#text": shape.room?.vcpus ?? shape.vcpus,
      },
      os: operatingSystem(x86),
      features: {
        acpi: "",
        ...(x86 ? { apic: "", vmport: { "@state": "off" } } : {}),
        ...(kvm ? {} : { tcg: { "tb-cache": { "@unit": "MiB", "#text": translationCacheMiB(shape) } } }),
      },
      cpu: kvm ? { "@mode": "host-passthrough", "@check": "none" } : emulatedCpu(x86),
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
        controller: [{ "@type": "usb", "@model": "none" }, ...later.controllers],
        filesystem,
        interface: network,
        ...consoleDevices(shape.consoleLogPath),
        channel: channelDevice(),
        memballoon: later.balloon,
        rng: { "@model": "virtio", backend: { "@model": "random", "#text": "/dev/urandom" } },
      },
      "qemu:commandline": later.commandLine,
    },
  });
}

/** Devices that the guest finds when it boots. */
function fromTheStart(shape: DomainShape) {
  const { interface: network, commandLine } = networkDevice(shape.network, shape.architecture === "x86_64");
  return {
    filesystem: shape.mounts.map(mountDevice),
    network,
    commandLine,
    controllers: [],
    // Gives memory that the guest frees back to the host.
    balloon: { "@model": "virtio", "@freePageReporting": "on" },
  };
}

/**
 * What a template and its clones have in common. No balloon: QEMU gives freed pages back by punching holes into the file,
 * which is every clone's memory (QEMU's docs/system/vm-templating.rst).
 */
function plugged(shape: DomainShape, { path, use }: MemoryImage) {
  const size = Math.ceil(shape.memoryBytes / 1024);
  const memory = `memory-backend-file,id=heyvmram,mem-path=${path.replaceAll(",", ",,")},size=${size}K`;
  const args = [
    "-object",
    `${memory},share=${use === "written" ? "on" : "off"}`,
    "-machine",
    // No SATA controller, which q35 has of itself: it costs each QEMU 1.6 MB, and no disk of ours is at one.
    `memory-backend=heyvmram${shape.architecture === "x86_64" ? ",sata=off" : ""}`,
    // QEMU adds it to libvirt's own `-m`. libvirt's `<maxMemory>` needs a NUMA node, whose memory would be libvirt's.
    ...(shape.room === undefined ? [] : ["-m", `slots=1,maxmem=${shape.room.memoryBytes / 1024 ** 2}M`]),
    ...(use === "private" ? ["-incoming", "defer", ...laterBackends(shape.mounts, shape.network)] : []),
  ];
  return {
    filesystem: [],
    network: undefined,
    commandLine: { "qemu:arg": args.map((value) => ({ "@value": value })) },
    controllers: pciControllers(),
    balloon: { "@model": "none" },
  };
}

/** All that QEMU can emulate, but for what an emulated guest is faster without. */
function emulatedCpu(x86: boolean) {
  const feature = x86 ? slowWhenEmulated.map((name) => ({ "@policy": "disable", "@name": name })) : undefined;
  return { "@mode": "maximum", feature };
}

function translationCacheMiB({ translationCacheBytes, memoryBytes, memoryImage, room }: DomainShape): number {
  const cloned = room === undefined ? memoryBytes * cloneCacheShare : roomyCacheBytes;
  const usual = memoryImage?.use === "private" ? cloned : bootCacheBytes;
  const bytes = translationCacheBytes ?? Math.min(bootCacheBytes, usual);
  return Math.floor(Math.max(leastCacheBytes, bytes) / MiB);
}

function operatingSystem(x86: boolean): Record<string, unknown> {
  if (x86) return { type: { "@arch": "x86_64", "@machine": "q35", "#text": "hvm" }, boot: { "@dev": "hd" } };
  return {
    "@firmware": "efi",
    type: { "@arch": "aarch64", "@machine": "virt", "#text": "hvm" },
    boot: { "@dev": "hd" },
  };
}
