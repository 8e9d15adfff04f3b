/** The images that can be had by name, and where their publishers keep them. */
import type { ChecksumAlgorithm } from "./checksum.ts";
import type { Architecture } from "../image.ts";
import type { Publisher } from "../types.ts";

/** A publisher's file, or the pattern of the names that its successive releases have. */
export interface CatalogueFile {
  /** Absolute path of the folder on the publisher's server, with a slash at the end. */
  folder: string;
  /** The file's name; absent when it has to be looked up in the folder's listing. */
  fileName: string | undefined;
  /** Names of the file; its groups, if any, are version numbers, the most significant first. */
  pattern: RegExp;
  checksum: {
    algorithm: ChecksumAlgorithm;
    /** Name of the checksum file of an image. */
    fileName: (imageFileName: string) => string;
    /** The checksum file is about that image alone. */
    alone: boolean;
  };
}

export interface CatalogueEntry {
  name: string;
  description: string;
  publisher: Publisher;
  /**
   * Below this much memory, in bytes, its kernel panics while it unpacks the initrd; found by trying. Absent where nobody
   * could try: such a guest is seen when it panics.
   */
  leastMemoryBytes?: number;
  file: (architecture: Architecture) => CatalogueFile;
}

const publisherBases: Record<Publisher, string> = {
  ubuntu: "https://cloud-images.ubuntu.com",
  debian: "https://cloud.debian.org",
  alpine: "https://dl-cdn.alpinelinux.org",
};

const debianNames: Record<Architecture, string> = { x86_64: "amd64", aarch64: "arm64" };
/** Alpine's x86_64 images boot by BIOS, its aarch64 images by UEFI: the machines that QEMU makes by default. */
const alpineNames: Record<Architecture, string> = { x86_64: "x86_64-bios", aarch64: "aarch64-uefi" };

const laterCopy = "(?:-[0-9a-f]{12})?";

export const catalogue: readonly CatalogueEntry[] = [
  {
    name: "ubuntu:24.04",
    description: "Ubuntu 24.04 LTS (Noble Numbat), server",
    publisher: "ubuntu",
    file: (architecture) =>
      fixedFile(
        "/releases/24.04/release/",
        `ubuntu-24.04-server-cloudimg-${debianNames[architecture]}.img`,
        "sha256",
      ),
  },
  {
    name: "debian:12",
    // `genericcloud` has a kernel without 9p, so mounts would not work in it.
    description: "Debian 12 (bookworm), generic",
    publisher: "debian",
    leastMemoryBytes: 256 * 2 ** 20,
    file: (architecture) =>
      fixedFile(
        "/images/cloud/bookworm/latest/",
        `debian-12-generic-${debianNames[architecture]}.qcow2`,
        "sha512",
      ),
  },
  {
    name: "alpine:3.23",
    description: "Alpine Linux 3.23, with cloud-init",
    publisher: "alpine",
    file: (architecture) => ({
      folder: "/alpine/v3.23/releases/cloud/",
      fileName: undefined,
      pattern: new RegExp(
        `^nocloud_alpine-3\\.23\\.(\\d+)-${alpineNames[architecture]}-cloudinit-r(\\d+)${laterCopy}\\.qcow2$`,
      ),
      checksum: { algorithm: "sha512", fileName: (image) => `${image}.sha512`, alone: true },
    }),
  },
];

/** The names of a file and of those that the store put beside it because the name was taken. */
export function patternOf(fileName: string): RegExp {
  const escaped = fileName.replaceAll(".", "\\.");
  return new RegExp(`^${escaped.replace(/\\\.[^.]*$/, (suffix) => `${laterCopy}${suffix}`)}$`);
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
export function publisherUrl(
  publisher: Publisher,
  path: string,
  mirrors: Partial<Record<Publisher, string>>,
): URL {
  const base = mirrors[publisher] ?? publisherBases[publisher];
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

function fixedFile(folder: string, fileName: string, algorithm: ChecksumAlgorithm): CatalogueFile {
  const sums = algorithm === "sha256" ? "SHA256SUMS" : "SHA512SUMS";
  return {
    folder,
    fileName,
    pattern: patternOf(fileName),
    checksum: { algorithm, fileName: () => sums, alone: false },
  };
}
