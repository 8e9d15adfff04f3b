/** Headers of HTTP with which a download goes on where it ended. */
import type { PartialFile, PartialOrigin } from "./partial-file.ts";

/** Asks for what is missing. */
export function rangeHeaders({ sizeBytes, origin }: PartialFile): Record<string, string> {
  if (sizeBytes === 0) return {};
  const validator = origin === undefined ? undefined : validatorOf(origin);
  return { range: `bytes=${sizeBytes}-`, ...(validator === undefined ? {} : { "if-range": validator }) };
}

/** What a server can tell a changed file by; weak tags are not allowed for ranges. */
export function validatorOf({ etag, lastModified }: PartialOrigin): string | undefined {
  return etag !== undefined && !etag.startsWith("W/") ? etag : lastModified;
}

/** Which part of the file an answer has; `undefined` for what says nothing that makes sense. */
export function parseContentRange(
  header: string | undefined,
): { start: number; endBytes: number; totalBytes: number | undefined } | undefined {
  const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header ?? "");
  if (match === null) return undefined;
  const start = Number(match[1]);
  const endBytes = Number(match[2]) + 1;
  const totalBytes = match[3] === "*" ? undefined : Number(match[3]);
  return start < endBytes && endBytes <= (totalBytes ?? endBytes)
    ? { start, endBytes, totalBytes }
    : undefined;
}

export function lengthOf(header: string | undefined): number | undefined {
  const length = Number(header);
  return header !== undefined && Number.isSafeInteger(length) && length >= 0 ? length : undefined;
}
