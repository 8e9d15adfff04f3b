import { Option } from "commander";

import { malformed } from "./malformed.ts";

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
