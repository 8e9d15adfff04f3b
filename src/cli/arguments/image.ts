import { resolve } from "node:path";

import { Option } from "commander";

import { malformed } from "./malformed.ts";

/** A name (`debian:12`), a URL, or a path; a path becomes absolute, because the daemon has another current folder. */
export function parseImage(text: string): string {
  refuseEmpty(text);
  const isPath = /^(\.{0,2}\/|\.{1,2}$)/.test(text) || /^[^:]+\.(qcow2|img|raw)$/.test(text);
  return isPath ? resolve(text) : text;
}

/** A URL, or a path: never a name. */
export function parseImageSource(text: string): string {
  refuseEmpty(text);
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : resolve(text);
}

/** An option that takes an image. */
export function imageOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser(parseImage);
}

function refuseEmpty(text: string): void {
  if (text !== "") return;
  throw malformed("image", text, "an image", "use a name, a path or a URL", ["debian:12", "./disk.qcow2"]);
}
