/** Options that repeat. */
import { Option } from "commander";

import { malformed } from "./malformed.ts";

export type KeyValues = Readonly<Record<string, string>>;

/** `K=V`; the value may be empty and may contain `=`. */
export function parseKeyValue(text: string, option = "pair"): readonly [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw malformed(option, text, "KEY=VALUE", "a key, an equals sign and a value", ["team=web"]);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** An option that repeats, each a `K=V`; its value is all of them. */
export function keyValueOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser<KeyValues | undefined>((text, previous) => ({
    ...previous,
    ...Object.fromEntries([parseKeyValue(text, option.long ?? flags)]),
  }));
}

/** Like `keyValueOption`, but a bare `K` passes the variable on from heyvm's own environment. */
export function environmentOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  const name = option.long ?? flags;
  return option.argParser<KeyValues | undefined>((text, previous) => {
    if (text.includes("=")) return { ...previous, ...Object.fromEntries([parseKeyValue(text, name)]) };
    const value = process.env[text];
    if (text === "" || value === undefined) {
      throw malformed(name, text, "NAME=VALUE, nor a variable of this environment", "a name and a value", [
        "NODE_ENV=production",
      ]);
    }
    return { ...previous, [text]: value };
  });
}

/** An option that repeats; its value is all texts in order. */
export function repeatedOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser<readonly string[] | undefined>((text, previous) => [
    ...(previous ?? []),
    text,
  ]);
}
