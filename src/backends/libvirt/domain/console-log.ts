/** What a machine printed on its serial console. */
import { open } from "node:fs/promises";
import { stripVTControlCharacters } from "node:util";

import type { Storage } from "../host.ts";

/** The newest `maxBytes` of a console's log; empty when there is none. */
export async function readConsoleLog(
  storage: Storage,
  isLocal: boolean,
  volume: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const local = isLocal ? await readTail(storage.path(volume), maxBytes) : undefined;
  // Not ours to read (`qemu:///system`) or on another host: libvirt reads it for us.
  return local ?? (await storage.read(volume, maxBytes, signal)) ?? Buffer.alloc(0);
}

/** The log's last lines as text that is safe to print: the guest decides what is in it. */
export function lastLines(log: Buffer, lines: number): string {
  // Terminal control sequences first, then every other control character.
  const text = stripVTControlCharacters(log.toString("utf8"))
    // oxlint-disable-next-line no-control-regex -- they are what is removed
    .replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, "");
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .slice(-lines)
    .map((line) => line.slice(0, 300))
    .join("\n");
}

async function readTail(path: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    await using file = await open(path);
    const { size } = await file.stat();
    const length = Math.min(size, maxBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } catch {
    return undefined;
  }
}
