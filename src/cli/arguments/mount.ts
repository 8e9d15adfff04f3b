import { statSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";

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
  return { hostPath: absoluteFolder(host), sandboxPath: guest, readOnly: access === "ro" };
}

/** With the links on its way, which a guest may have made: whether they may be followed is the daemon's decision. */
function absoluteFolder(host: string): string {
  const path = isAbsolute(host) ? host : `${currentFolder()}/${host}`;
  // What is above a link's target is known to the kernel alone.
  return path.split("/").includes("..") ? path : resolve(path);
}

/** As the shell tells how it came there; `process.cwd()` has followed the links. */
function currentFolder(): string {
  const told = process.env["PWD"] ?? "";
  return isAbsolute(told) && isHere(told) ? told : process.cwd();
}

function isHere(path: string): boolean {
  try {
    const [there, here] = [path, "."].map((folder) => statSync(folder, { bigint: true }));
    return there?.dev === here?.dev && there?.ino === here?.ino;
  } catch {
    // After `su`, another user's folder that this one may not look at: not told by the shell that is in use.
    return false;
  }
}

/** An option that repeats, each a mount. */
export function mountOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser<readonly Mount[] | undefined>((text, previous) => [
    ...(previous ?? []),
    parseMount(text, option.long ?? flags),
  ]);
}
