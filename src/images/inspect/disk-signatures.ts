/** Telling files apart by their first bytes. */
import type { FileHandle } from "node:fs/promises";

import { qcow2Magic } from "./qcow2.ts";
import { readAt } from "./file-bytes.ts";

export type DiskKind = { format: "qcow2" | "raw" } | { reason: string };

const sectorBytes = 512;
const isoMarkOffset = 32_769;
const foreign: readonly { mark: Buffer; at?: number; what: string }[] = [
  { mark: Buffer.from([0x1f, 0x8b]), what: "it is compressed with gzip; unpack it first: gunzip" },
  { mark: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), what: "it is compressed with xz; unpack it: unxz" },
  { mark: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), what: "it is compressed with zstd; unpack it: unzstd" },
  { mark: Buffer.from("BZh"), what: "it is compressed with bzip2; unpack it first: bunzip2" },
  { mark: Buffer.from("PK\u0003\u0004"), what: "it is a ZIP archive" },
  { mark: Buffer.from("7z\u00bc\u00af", "latin1"), what: "it is a 7z archive" },
  { mark: Buffer.from("ustar"), at: 257, what: "it is a tar archive" },
  { mark: Buffer.from("KDMV"), what: "it is a VMDK; convert it: qemu-img convert -O qcow2" },
  {
    mark: Buffer.from("# Disk Desc"),
    what: "it is a VMDK descriptor; convert it: qemu-img convert -O qcow2",
  },
  { mark: Buffer.from("vhdxfile"), what: "it is a VHDX; convert it: qemu-img convert -O qcow2" },
  { mark: Buffer.from("conectix"), what: "it is a VHD; convert it: qemu-img convert -O qcow2" },
  {
    mark: Buffer.from([0x7f, 0x10, 0xda, 0xbe]),
    at: 64,
    what: "it is a VDI; convert it: qemu-img convert -O qcow2",
  },
  { mark: Buffer.from("LUKS"), what: "it is encrypted (LUKS)" },
  { mark: Buffer.from("\u007FELF"), what: "it is a program" },
];

/** Which format of disk it is, or what it is instead. */
export async function recogniseDisk(file: FileHandle, fileBytes: number): Promise<DiskKind> {
  if (fileBytes === 0) return { reason: "it is empty" };
  const head = await readAt(file, 0, 8192);
  if (head.length >= 8 && head.readUInt32BE(0) === qcow2Magic) {
    return head.readUInt32BE(4) === 1 ? { reason: "qcow version 1 is not supported" } : { format: "qcow2" };
  }
  const known = foreign.find(({ mark, at = 0 }) => head.subarray(at, at + mark.length).equals(mark));
  if (known !== undefined) return { reason: known.what };
  if (looksLikeText(head)) {
    return { reason: isMarkup(head) ? "it is a web page, not an image" : "it is a text file" };
  }
  // An ISO that also boots from a stick has a partition table, too.
  if ((await readAt(file, isoMarkOffset, 5)).equals(Buffer.from("CD001"))) {
    return { reason: "it is an ISO image of a CD; take the cloud image (qcow2) instead" };
  }
  const reason = whyNotRaw(head, fileBytes);
  return reason === undefined ? { format: "raw" } : { reason };
}

/** Whether it begins as HTML or XML does. */
export function isMarkup(head: Uint8Array): boolean {
  return /^(?:\uFEFF|\s)*<(?:!doctype|html|head|\?xml|!--)/i.test(
    Buffer.from(head.subarray(0, 512)).toString("utf8"),
  );
}

function looksLikeText(head: Buffer): boolean {
  const start = head.subarray(0, sectorBytes);
  return start.every((byte) => byte >= 0x20 || byte === 9 || byte === 10 || byte === 13 || byte === 12);
}

/** A raw disk has a partition table, all of whose partitions lie within it. */
function whyNotRaw(head: Buffer, fileBytes: number): string | undefined {
  const isBootSector = head.length >= sectorBytes && head.readUInt16LE(510) === 0xaa55;
  const gptAt = [sectorBytes, 4096].find((at) => head.subarray(at, at + 8).equals(Buffer.from("EFI PART")));
  if (gptAt !== undefined && head.length >= gptAt + 40) {
    const needed = (Number(head.readBigUInt64LE(gptAt + 32)) + 1) * gptAt;
    return needed > fileBytes ? truncated(fileBytes, needed) : undefined;
  }
  if (!isBootSector) return "it is neither qcow2 nor a disk with a partition table";
  let end = 0;
  for (let at = 446; at < 510; at += 16) {
    if (head[at + 4] === 0) continue;
    end = Math.max(end, (head.readUInt32LE(at + 8) + head.readUInt32LE(at + 12)) * sectorBytes);
  }
  if (end === 0) return "its partition table is empty";
  return end > fileBytes ? truncated(fileBytes, end) : undefined;
}

function truncated(fileBytes: number, needed: number): string {
  return `truncated: it has ${fileBytes} bytes, and its partitions need ${needed}`;
}
