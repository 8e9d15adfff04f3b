import { Option } from "commander";

import { malformed } from "./malformed.ts";

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const partPattern = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;

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
