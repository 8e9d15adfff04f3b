/** Options whose value is a quantity. */
import { Option } from "commander";

import { parseSize } from "../../config/size.ts";
import { malformed } from "./malformed.ts";

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const partPattern = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;

/** An option that takes a number of at least `minimum`. */
export function numberOption(
  flags: string,
  description: string,
  { minimum, whole = true, examples }: { minimum: number; whole?: boolean; examples: readonly string[] },
): Option {
  const option = new Option(flags, description);
  return option.argParser((text) => {
    const value = Number(text);
    const fits =
      text.trim() !== "" && Number.isFinite(value) && value >= minimum && (!whole || Number.isInteger(value));
    if (fits) return value;
    const kind = whole ? "a whole number" : "a number";
    throw malformed(option.long ?? flags, text, `${kind} of at least ${minimum}`, kind, examples);
  });
}

/** An option that takes `512M`, `2G` or plain bytes; its value is bytes. */
export function sizeOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text) => parseSize(text, option.long ?? flags));
}

/** `30s`, `5m`, `1h30m`, `500ms`; a bare number is seconds. Milliseconds. */
export function parseDuration(text: string, option = "duration"): number {
  const trimmed = text.trim();
  const parts = /^\d+(\.\d+)?$/.test(trimmed) ? `${trimmed}s` : trimmed;
  const matches = [...parts.matchAll(partPattern)];
  const whole = matches.map(([part]) => part).join("");
  const totalMs = matches.reduce(
    (sum, [, number, unit]) => sum + Number(number) * (unitMs[unit ?? ""] ?? 0),
    0,
  );
  if (whole !== parts || totalMs <= 0) {
    throw malformed(option, text, "a duration", "a number followed by a unit (ms, s, m, h, d)", [
      "30s",
      "5m",
      "1h30m",
    ]);
  }
  return totalMs;
}

/** An option that takes a duration; its value is milliseconds. */
export function durationOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text) => parseDuration(text, option.long ?? flags));
}
