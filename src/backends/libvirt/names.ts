/** The name of everything that this backend makes in libvirt, once. */
import { createHash } from "node:crypto";

/** The storage pool beside libvirt's default one. */
export const poolName = "heyvm";

/** libvirt's name for the pipe to the agent; in the guest `/dev/virtio-ports/org.heyvm.agent.0`. */
export const agentChannel = "org.heyvm.agent.0";

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

/** The id of the machine that a volume belongs to, or `undefined` for a shared or foreign volume. */
export function machineOfVolume(volume: string): string | undefined {
  // virtlogd rotates logs to `.0`, `.1`, …
  const match = /^((?:sb|preparing)-[0-9a-f]{8})\.(?:qcow2|seed\.iso|console\.log(?:\.\d+)?)$/.exec(volume);
  return match?.[1];
}

/** Volumes of one prepared disk. The marker says which build is the finished one; without it there is none. */
export function preparedMarkerName(key: string): string {
  return `prepared-${key}.json`;
}

/** The disk of one attempt to prepare. */
export function preparedDiskName(key: string, build: string): string {
  return `prepared-${key}-${build}.qcow2`;
}

/** Takes the name of a prepared disk or its marker apart; `build` is absent for a marker. */
export function parsePreparedName(volume: string): { key: string; build: string | undefined } | undefined {
  const match = /^prepared-([0-9a-f]{16})(?:-([0-9a-f]{8})\.qcow2|\.json)$/.exec(volume);
  return match?.[1] === undefined ? undefined : { key: match[1], build: match[2] };
}

/** The pool's copy of an image that QEMU cannot read where it lies. */
export function imageVolumeName(fingerprint: string, format: "qcow2" | "raw"): string {
  return `image-${shortHash(fingerprint)}.${format}`;
}

/** 16 hex digits that stand for a text. */
export function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
