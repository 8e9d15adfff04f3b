/** The name of everything that this backend makes in libvirt, once. */
import { createHash, randomBytes } from "node:crypto";

/** The storage pool beside libvirt's default one. */
export const poolName = "heyvm";

const domainPrefix = "heyvm-";

/** What belongs to one machine: its domain and its volumes. */
export interface MachineNames {
  domain: string;
  disk: string;
  seed: string;
  consoleLog: string;
}

/** Names for a sandbox (`sb-1a2b3c4d`) or a preparation (`preparing-1a2b3c4d`). */
export function machineNames(id: string): MachineNames {
  return {
    domain: `${domainPrefix}${id}`,
    disk: `${id}.qcow2`,
    seed: `${id}.seed.iso`,
    consoleLog: `${id}.console.log`,
  };
}

/** The machine's id when a domain's name is one of ours. */
export function machineOfDomain(domain: string): string | undefined {
  return /^heyvm-((?:sb|preparing)-[0-9a-f]{8})$/.exec(domain)?.[1];
}

/** The id of the machine that a volume belongs to, or `undefined` for a shared or foreign volume. */
export function machineOfVolume(volume: string): string | undefined {
  // virtlogd rotates logs to `.0`, `.1`, …
  const match = /^((?:sb|preparing)-[0-9a-f]{8})\.(?:qcow2|seed\.iso|console\.log(?:\.\d+)?)$/.exec(volume);
  return match?.[1];
}

/** What machines share: frozen machines, disks that were prepared from an image, and copies of images. */
export type SharedKind = "template" | "prepared" | "image";

/** A template also has its memory, the state of its devices, and an empty overlay on its disk. */
export type SharedFormat = "qcow2" | "raw" | "ram" | "state" | "blank";

/** The marker says which build of a shared disk is the finished one; without it there is none. */
export function markerName(kind: SharedKind, key: string): string {
  return `${kind}-${key}.json`;
}

/** The disk of one attempt to make it. */
export function sharedDiskName(
  kind: SharedKind,
  key: string,
  build: string,
  format: SharedFormat = "qcow2",
): string {
  return `${kind}-${key}-${build}.${format}`;
}

/** Takes the name of a shared disk or its marker apart; `build` is absent for a marker. */
export function parseSharedName(
  volume: string,
): { kind: SharedKind; key: string; build: string | undefined } | undefined {
  const match =
    /^(template|prepared|image)-([0-9a-f]{16})(?:-([0-9a-f]{8})\.(?:qcow2|raw|ram|state|blank)|\.json)$/.exec(
      volume,
    );
  if (match?.[2] === undefined) return undefined;
  return { kind: kindOf(match[1]), key: match[2], build: match[3] };
}

function kindOf(text: string | undefined): SharedKind {
  return text === "image" || text === "template" ? text : "prepared";
}

/** A UUID that always is the same for the same text, so that a machine can be defined again. */
export function uuidFor(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  // Version 8: custom; variant 10.
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `a${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join("-");
}

/** A locally administered MAC address, the same for the same machine. */
export function macAddressFor(id: string): string {
  const hex = createHash("sha256").update(id).digest("hex");
  return `52:54:00:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}`;
}

/** 16 hex digits that stand for a text. */
export function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** 8 hex digits that nobody had before. */
export function newBuild(): string {
  return randomBytes(4).toString("hex");
}
