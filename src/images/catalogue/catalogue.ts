/** The images that can be had by name, and where their publishers keep them. */
import { type Publisher, publishers } from "../../config/publishers.ts";
import type { Architecture } from "../image.ts";

/** Base URLs (scheme, host and maybe a path) that replace the publishers' own. */
export type Mirrors = Readonly<Partial<Record<Publisher, string | null>>>;

export interface CatalogueEntry {
  name: string;
  description: string;
  publisher: Publisher;
  /**
   * Below this much memory, in bytes, its kernel panics while it unpacks the initrd; found by trying. Absent where nobody
   * could try: such a guest is seen when it panics.
   */
  leastMemoryBytes?: number;
  /** Absolute path of the folder on the publisher's server, with a slash at the end. */
  folder: string;
  /**
   * The file's name. `{n}` stands for a version number, the most significant first: of such files the newest in the
   * folder's listing is taken.
   */
  fileName: (architecture: Architecture) => string;
}

/** By which names a file is known on this host. */
export interface FileNames {
  /** Absent when it has to be looked up in a folder's listing. */
  fileName: string | undefined;
  /** Also those that the store puts beside it because the name is taken; its groups, if any, are version numbers. */
  pattern: RegExp;
}

const debianNames: Record<Architecture, string> = { x86_64: "amd64", aarch64: "arm64" };
/** Alpine's x86_64 images boot by BIOS, its aarch64 images by UEFI: the machines that QEMU makes by default. */
const alpineNames: Record<Architecture, string> = { x86_64: "x86_64-bios", aarch64: "aarch64-uefi" };

export const catalogue: readonly CatalogueEntry[] = [
  {
    name: "ubuntu:24.04",
    description: "Ubuntu 24.04 LTS (Noble Numbat), server",
    publisher: "ubuntu",
    folder: "/releases/24.04/release/",
    fileName: (architecture) => `ubuntu-24.04-server-cloudimg-${debianNames[architecture]}.img`,
  },
  {
    name: "debian:12",
    // `genericcloud` has a kernel without 9p, so mounts would not work in it.
    description: "Debian 12 (bookworm), generic",
    publisher: "debian",
    leastMemoryBytes: 256 * 2 ** 20,
    folder: "/images/cloud/bookworm/latest/",
    fileName: (architecture) => `debian-12-generic-${debianNames[architecture]}.qcow2`,
  },
  {
    name: "alpine:3.23",
    description: "Alpine Linux 3.23, with cloud-init",
    publisher: "alpine",
    folder: "/alpine/v3.23/releases/cloud/",
    fileName: (architecture) => `nocloud_alpine-3.23.{n}-${alpineNames[architecture]}-cloudinit-r{n}.qcow2`,
  },
];

/** The names of a file and of those that the store put beside it because the name was taken. */
export function namesOf(fileName: string): FileNames {
  const escaped = fileName.replaceAll(".", "\\.").replaceAll("{n}", "(\\d+)");
  const pattern = new RegExp(`^${escaped.replace(/\\\.[^.]*$/, "(?:-[0-9a-f]{12})?$&")}$`);
  return { fileName: fileName.includes("{n}") ? undefined : fileName, pattern };
}

/** The name for newer bytes of a file whose name is taken: disks may stand on the older ones. */
export function laterCopyName(fileName: string, digestHex: string): string {
  return fileName.replace(/\.[^.]*$/, (suffix) => `-${digestHex.slice(0, 12)}${suffix}`);
}

export function findInCatalogue(name: string): CatalogueEntry | undefined {
  return catalogue.find((entry) => entry.name === name);
}

/** The least memory, in bytes, of the image that a reference names; `undefined` where that is not known. */
export function leastMemoryOf(reference: string): number | undefined {
  return findInCatalogue(reference)?.leastMemoryBytes;
}

/** The URL of a folder or file of a publisher, at the mirror if there is one. */
export function publisherUrl(publisher: Publisher, path: string, mirrors: Mirrors): URL {
  const base = mirrors[publisher] ?? `https://${publishers[publisher].host}`;
  return new URL(`${base.replace(/\/+$/, "")}${path}`);
}

/** The newest of the names that fit, by their version numbers. */
export function newestOf(names: Iterable<string>, pattern: RegExp): string | undefined {
  let newest: { name: string; version: number[] } | undefined;
  for (const name of names) {
    const match = pattern.exec(name);
    if (match === null) continue;
    const version = match.slice(1).map(Number);
    if (newest === undefined || compareVersions(version, newest.version) > 0) newest = { name, version };
  }
  return newest?.name;
}

/** Names of the files in a folder's listing, as Apache, nginx and others write it. */
export function namesInListing(html: string): Set<string> {
  const names = new Set<string>();
  for (const [, quoted, bare] of html.matchAll(/href\s*=\s*(?:["']([^"']*)["']|([^\s>]+))/gi)) {
    const path = (quoted ?? bare ?? "").split(/[?#]/)[0] ?? "";
    const last = path.split("/").at(-1) ?? "";
    try {
      if (last !== "") names.add(decodeURIComponent(last));
    } catch {
      // Not the name of a file of ours.
    }
  }
  return names;
}

export function compareVersions(left: readonly number[], right: readonly number[]): number {
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
