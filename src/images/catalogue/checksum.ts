/** Checksums as publishers write them. */
import { InvalidArgumentError } from "../../errors/index.ts";

export type ChecksumAlgorithm = "sha256" | "sha512";

export interface Checksum {
  algorithm: ChecksumAlgorithm;
  /** Lower case. */
  hex: string;
}

const hexLength: Record<ChecksumAlgorithm, number> = { sha256: 64, sha512: 128 };

/**
 * The checksum of `fileName` in a publisher's file: lines of `hex  name` or `hex *name` (SHA256SUMS, SHA512SUMS,
 * Alpine's `.sha512`), of `SHA512 (name) = hex`, or a file with nothing but the checksum, if `alone`.
 */
export function findChecksum(
  text: string,
  fileName: string,
  options: { algorithm: ChecksumAlgorithm; alone: boolean },
): Checksum | undefined {
  const { algorithm, alone } = options;
  const isHex = new RegExp(`^[0-9a-f]{${hexLength[algorithm]}}$`);
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  for (const line of lines) {
    const coreutils = /^([0-9a-fA-F]+)[ \t]+\*?(.+?)\s*$/.exec(line);
    const bsd = /^[A-Z0-9-]+ \((.+)\) = ([0-9a-fA-F]+)\s*$/.exec(line);
    const name = (coreutils?.[2] ?? bsd?.[1])?.replace(/^\.\//, "");
    const hex = (coreutils?.[1] ?? bsd?.[2])?.toLowerCase();
    if (name === fileName && hex !== undefined && isHex.test(hex)) return { algorithm, hex };
  }
  const only = lines[0]?.trim().toLowerCase() ?? "";
  return alone && lines.length === 1 && isHex.test(only) ? { algorithm, hex: only } : undefined;
}

/** `sha256:…` or `sha512:…`, as a user gives it. */
export function parseChecksum(text: string): Checksum {
  const match = /^(sha256|sha512):([0-9a-fA-F]+)$/.exec(text.trim());
  const algorithm = match?.[1] === "sha512" ? "sha512" : "sha256";
  const hex = match?.[2]?.toLowerCase();
  if (hex === undefined || hex.length !== hexLength[algorithm]) {
    throw new InvalidArgumentError("checksum", `${JSON.stringify(text.slice(0, 160))} is no checksum`, {
      hint: "write sha256: and 64 hex digits, or sha512: and 128",
    });
  }
  return { algorithm, hex };
}

export function formatChecksum({ algorithm, hex }: Checksum): string {
  return `${algorithm}:${hex}`;
}
