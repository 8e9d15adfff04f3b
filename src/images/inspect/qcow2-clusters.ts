/** Whether all that a qcow2 file's tables point at lies within the file: half a download has a perfect header. */
import type { FileHandle } from "node:fs/promises";

import type { Qcow2Header } from "./qcow2-header.ts";
import { readAt } from "./read-at.ts";

/** Tables are read up to this much: a cloud image has some hundred KiB, and a hostile one must not cost minutes. */
const maxTableBytes = 64 * 2 ** 20;
const offsetMask = 0x00ff_ffff_ffff_fe00n;
const compressedFlag = 1n << 62n;

/** The reason why the file must not be used, if there is one. */
export async function findQcow2Truncation(
  file: FileHandle,
  header: Qcow2Header,
  fileBytes: number,
): Promise<string | undefined> {
  const refcounts = await readAt(file, header.refcountTableOffset, header.refcountTableBytes);
  const lastRefcounts = maxOf(entriesOf(refcounts, 8), (entry) => Number(entry & offsetMask));
  if (lastRefcounts >= fileBytes) return truncated(fileBytes, lastRefcounts);
  const l1 = await readAt(file, header.l1Offset, header.l1Entries * 8);
  let readBytes = 0;
  for (const entry of entriesOf(l1, 8)) {
    const l2Offset = Number(entry & offsetMask);
    if (l2Offset === 0) continue;
    if (l2Offset + header.clusterBytes > fileBytes) return truncated(fileBytes, l2Offset);
    readBytes += header.clusterBytes;
    if (readBytes > maxTableBytes) return undefined;
    const l2 = await readAt(file, l2Offset, header.clusterBytes);
    const last = maxOf(entriesOf(l2, header.l2EntryBytes), (l2Entry) => dataOffset(l2Entry, header));
    if (last >= fileBytes) return truncated(fileBytes, last);
  }
  return undefined;
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

function truncated(fileBytes: number, offset: number): string {
  return `truncated: it ends at byte ${fileBytes}, and has data at byte ${offset}`;
}
