import type { Readable } from "node:stream";

import { GuestMisbehavedError } from "./errors.ts";
import { type GuestObject, guestInteger, guestString, parseGuestJson } from "./guest-json.ts";
import type { DirectoryEntry, FileStatus } from "./types.ts";

const types: ReadonlySet<string> = new Set(["file", "directory", "symlink", "other"]);
const maxListingBytes = 64 * 1024 * 1024;
const maxNumber = Number.MAX_SAFE_INTEGER;
/** What a Date can hold (ECMA-262, "Time Values and Time Range"). */
const maxDateMs = 8.64e15;
const maxLineBytes = 65_536;
const maxEntries = 200_000;
const newline = 0x0a;

/** Reads the agent's description of a file. */
export function fileStatus(from: GuestObject): FileStatus {
  const type = guestString(from, "type");
  if (!isFileType(type)) throw new GuestMisbehavedError(`a file is of unknown type ${type}`);
  return {
    path: guestString(from, "path", 16_384),
    type,
    sizeBytes: guestInteger(from, "size", 0, maxNumber),
    mode: guestInteger(from, "mode", 0, 0o7777),
    uid: guestInteger(from, "uid", 0, 0xffff_ffff),
    gid: guestInteger(from, "gid", 0, 0xffff_ffff),
    modifiedMs: guestInteger(from, "modified_ms", -maxDateMs, maxDateMs),
    linkTarget: from["link_target"] === undefined ? undefined : guestString(from, "link_target", 16_384),
  };
}

/** Reads a listing: one JSON object a line. Entries come sorted by name. */
export async function readDirectory(lines: Readable): Promise<DirectoryEntry[]> {
  const entries: DirectoryEntry[] = [];
  let total = 0;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of lines) {
    if (!Buffer.isBuffer(chunk)) continue;
    total += chunk.length;
    if (total > maxListingBytes) throw new GuestMisbehavedError("it lists a directory without end");
    rest = Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = rest.indexOf(newline); end >= 0; end = rest.indexOf(newline, start)) {
      entries.push(entryOf(parseGuestJson(rest.subarray(start, end))));
      start = end + 1;
    }
    rest = rest.subarray(start);
    if (rest.length > maxLineBytes || entries.length > maxEntries) {
      throw new GuestMisbehavedError("it lists a directory that no one can have");
    }
  }
  if (rest.length > 0) throw new GuestMisbehavedError("it ended a listing in the middle of a line");
  return entries.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function entryOf(from: GuestObject): DirectoryEntry {
  return { ...fileStatus(from), name: guestString(from, "name", 4096) };
}

function isFileType(type: string): type is FileStatus["type"] {
  return types.has(type);
}
