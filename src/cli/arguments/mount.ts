import { resolve } from "node:path";

import { Option } from "commander";

import type { Mount } from "../../sdk/index.ts";
import { malformed } from "./malformed.ts";

/** `HOST:GUEST[:ro|:rw]`. A relative host path is taken from the current folder; the guest's must be absolute. */
export function parseMount(text: string, option = "mount"): Mount {
  const match = /^(?<host>[^:]+):(?<guest>\/[^:]*)(?::(?<access>ro|rw))?$/.exec(text);
  const { host, guest, access } = match?.groups ?? {};
  if (host === undefined || guest === undefined) {
    throw malformed(
      option,
      text,
      "HOST:GUEST[:ro]",
      "a folder here, a colon, an absolute path in the sandbox",
      ["./project:/workspace", "/data:/data:ro"],
    );
  }
  return { hostPath: resolve(host), sandboxPath: guest, readOnly: access === "ro" };
}

/** An option that repeats, each a mount. */
export function mountOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser<readonly Mount[] | undefined>((text, previous) => [
    ...(previous ?? []),
    parseMount(text, option.long ?? flags),
  ]);
}
