/** Sizes as people write them: `2G`, `512M`, `1.5GiB`, plain bytes. One parser for settings, CLI and messages. */
import { InvalidArgumentError } from "../errors/index.ts";

const unitBytes: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

const sizePattern = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?$/i;

/**
 * Reads a size in bytes. Units are powers of 1024, as every hypervisor counts memory: `K`, `M`, `G`, `T`, with or
 * without `B` or `iB`. Throws an `invalid_argument` that names `field`.
 */
export function parseSize(text: string, field = "size"): number {
  const match = sizePattern.exec(text.trim());
  const unit = unitBytes[(match?.[2] ?? "").toLowerCase()];
  const bytes = Math.round(Number(match?.[1]) * (unit ?? Number.NaN));
  if (!Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError(field, `${field}: ${JSON.stringify(text)} is not a size`, {
      hint: "write a number with a unit: 512M, 2G, 1.5GiB, or plain bytes",
    });
  }
  return bytes;
}

/** `1073741824` → `1 GiB`; at most one decimal, the largest unit that leaves a number of at least 1. */
export function formatSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let index = 0;
  while (Math.abs(value) >= 1024 && index < units.length - 1) {
    value /= 1024;
    index += 1;
  }
  return `${Number(value.toFixed(1))} ${units[index]}`;
}
