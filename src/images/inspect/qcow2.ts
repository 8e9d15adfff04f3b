/**
 * A qcow2 file's header and tables, read without QEMU: a file from outside is looked at before any program that acts on
 * it sees it. A backing file or an external data file named in it would let its maker read files of this host.
 */
import type { FileHandle } from "node:fs/promises";

import { readAt } from "./file-bytes.ts";

export interface Qcow2Header {
  version: 2 | 3;
  virtualSizeBytes: number;
  clusterBytes: number;
  l1Entries: number;
  l1Offset: number;
  l2EntryBytes: 8 | 16;
  refcountTableOffset: number;
  refcountTableBytes: number;
}

export const qcow2Magic = 0x514649fb;
const maxVirtualBytes = 64 * 2 ** 40;
const maxL1Bytes = 32 * 2 ** 20;
const maxRefcountTableBytes = 8 * 2 ** 20;
const v3HeaderBytes = 104;
const incompatible = { corrupt: 2n, externalData: 4n, extendedL2: 16n, known: 31n };
const externalDataExtension = 0x44415441;
/** Tables are read up to this much: a cloud image has some hundred KiB, and a hostile one must not cost minutes. */
const maxTableBytes = 64 * 2 ** 20;
const offsetMask = 0x00ff_ffff_ffff_fe00n;
const compressedFlag = 1n << 62n;

/** The header, or the reason why the file must not be used. */
export async function readQcow2Header(
  file: FileHandle,
  fileBytes: number,
): Promise<Qcow2Header | { reason: string }> {
  const head = await readAt(file, 0, 4096);
  if (head.length < 72) return { reason: "truncated: it ends within the qcow2 header" };
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) return { reason: `qcow2 version ${version} is not supported` };
  if (version === 3 && head.length < v3HeaderBytes) return { reason: "truncated: it ends within the header" };
  const features = version === 3 ? head.readBigUInt64BE(72) : 0n;
  const reason = refusal(head, version, features);
  if (reason !== undefined) return { reason };

  const header: Qcow2Header = {
    version,
    virtualSizeBytes: Number(head.readBigUInt64BE(24)),
    clusterBytes: 2 ** head.readUInt32BE(20),
    l1Entries: head.readUInt32BE(36),
    l1Offset: Number(head.readBigUInt64BE(40)),
    l2EntryBytes: (features & incompatible.extendedL2) === 0n ? 8 : 16,
    refcountTableOffset: Number(head.readBigUInt64BE(48)),
    refcountTableBytes: head.readUInt32BE(56) * 2 ** head.readUInt32BE(20),
  };
  const bad = insane(header) ?? beyondEnd(header, fileBytes);
  return bad === undefined ? header : { reason: bad };
}

/**
 * The reason why the file must not be used, if there is one: something that its tables point at lies beyond its end. Half a
 * download has a perfect header.
 */
export async function findQcow2Truncation(
  file: FileHandle,
  header: Qcow2Header,
  fileBytes: number,
): Promise<string | undefined> {
  const refcounts = await readAt(file, header.refcountTableOffset, header.refcountTableBytes);
  const lastRefcounts = maxOf(entriesOf(refcounts, 8), (entry) => Number(entry & offsetMask));
  if (lastRefcounts >= fileBytes) return truncatedBefore(fileBytes, lastRefcounts);
  const l1 = await readAt(file, header.l1Offset, header.l1Entries * 8);
  let readBytes = 0;
  for (const entry of entriesOf(l1, 8)) {
    const l2Offset = Number(entry & offsetMask);
    if (l2Offset === 0) continue;
    if (l2Offset + header.clusterBytes > fileBytes) return truncatedBefore(fileBytes, l2Offset);
    readBytes += header.clusterBytes;
    if (readBytes > maxTableBytes) return undefined;
    const l2 = await readAt(file, l2Offset, header.clusterBytes);
    const last = maxOf(entriesOf(l2, header.l2EntryBytes), (l2Entry) => dataOffset(l2Entry, header));
    if (last >= fileBytes) return truncatedBefore(fileBytes, last);
  }
  return undefined;
}

/** What the header asks for and an image of ours may not have. */
function refusal(head: Buffer, version: 2 | 3, features: bigint): string | undefined {
  const clusterBits = head.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) return `its cluster size, 2^${clusterBits}, is not possible`;
  if (head.readBigUInt64BE(8) !== 0n) {
    return "it has a backing file, which could be any file of this host";
  }
  if (head.readUInt32BE(32) !== 0) return "it is encrypted";
  if ((features & incompatible.externalData) !== 0n || hasExternalDataName(head, version)) {
    return "its data is in another file, which could be any file of this host";
  }
  if ((features & incompatible.corrupt) !== 0n) return "it is marked as corrupt";
  if ((features & ~incompatible.known) !== 0n) {
    return `it needs qcow2 features that are not known here (0x${features.toString(16)})`;
  }
  return undefined;
}

function hasExternalDataName(head: Buffer, version: 2 | 3): boolean {
  let offset = version === 2 ? 72 : head.readUInt32BE(100);
  while (offset + 8 <= head.length) {
    const type = head.readUInt32BE(offset);
    if (type === 0) return false;
    if (type === externalDataExtension) return true;
    offset += 8 + Math.ceil(head.readUInt32BE(offset + 4) / 8) * 8;
  }
  return false;
}

function insane(header: Qcow2Header): string | undefined {
  const { virtualSizeBytes, clusterBytes, l1Entries, l2EntryBytes } = header;
  if (virtualSizeBytes === 0) return "its disk has no bytes";
  if (virtualSizeBytes > maxVirtualBytes) return `its disk of ${virtualSizeBytes} bytes is too large`;
  const bytesPerL2 = clusterBytes * (clusterBytes / l2EntryBytes);
  if (l1Entries < Math.ceil(virtualSizeBytes / bytesPerL2) || l1Entries * 8 > maxL1Bytes) {
    return `its table of ${l1Entries} entries does not fit its disk of ${virtualSizeBytes} bytes`;
  }
  if (header.refcountTableBytes === 0 || header.refcountTableBytes > maxRefcountTableBytes) {
    return `its reference count table of ${header.refcountTableBytes} bytes is not possible`;
  }
  if (header.l1Offset % clusterBytes !== 0 || header.refcountTableOffset % clusterBytes !== 0) {
    return "its tables are not where they can be";
  }
  return undefined;
}

function beyondEnd(header: Qcow2Header, fileBytes: number): string | undefined {
  const needed = Math.max(
    header.l1Offset + header.l1Entries * 8,
    header.refcountTableOffset + header.refcountTableBytes,
  );
  return needed > fileBytes ? `truncated: it has ${fileBytes} bytes and needs at least ${needed}` : undefined;
}

/** Where an entry's data begins; its end may lie beyond the file's, which then reads as zeros. */
function dataOffset(entry: bigint, header: Qcow2Header): number {
  if ((entry & compressedFlag) === 0n) return Number(entry & offsetMask);
  const offsetBits = BigInt(62 - (Math.log2(header.clusterBytes) - 8));
  return Number(entry & ((1n << offsetBits) - 1n));
}

function* entriesOf(table: Buffer, entryBytes: number): Generator<bigint> {
  for (let at = 0; at + 8 <= table.length; at += entryBytes) yield table.readBigUInt64BE(at);
}

function maxOf(entries: Iterable<bigint>, measure: (entry: bigint) => number): number {
  let max = 0;
  for (const entry of entries) max = Math.max(max, measure(entry));
  return max;
}

function truncatedBefore(fileBytes: number, offset: number): string {
  return `truncated: it ends at byte ${fileBytes}, and has data at byte ${offset}`;
}
