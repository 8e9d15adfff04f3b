import { Option } from "commander";

import type { PublishedPort } from "../../sdk/index.ts";
import { malformed } from "./malformed.ts";

/** `P`, or `HOST:GUEST`. */
export function parsePublishedPort(text: string, option = "port"): PublishedPort {
  const [first, second, ...rest] = text.split(":").map((part) => toPort(part));
  if (first !== undefined && rest.length === 0) {
    if (!text.includes(":")) return first;
    if (second !== undefined) return { hostPort: first, guestPort: second };
  }
  throw malformed(option, text, "a port", "a port of the sandbox, or HOST:GUEST, each from 1 to 65535", [
    "80",
    "8080:80",
  ]);
}

/** An option that repeats, each a port to publish. */
export function publishedPortOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser<readonly PublishedPort[] | undefined>((text, previous) => [
    ...(previous ?? []),
    parsePublishedPort(text, option.long ?? flags),
  ]);
}

/** An option that takes one TCP port, 0 for any that is free. */
export function portOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text) => {
    const port = text === "0" ? 0 : toPort(text);
    if (port !== undefined) return port;
    throw malformed(option.long ?? flags, text, "a port", "a number from 0 (any that is free) to 65535", [
      "3000",
    ]);
  });
}

function toPort(text: string): number | undefined {
  if (!/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65_535 ? port : undefined;
}
