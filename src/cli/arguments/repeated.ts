import { Option } from "commander";

/** An option that repeats; its value is all texts in order. */
export function repeatedOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser<readonly string[] | undefined>((text, previous) => [
    ...(previous ?? []),
    text,
  ]);
}
