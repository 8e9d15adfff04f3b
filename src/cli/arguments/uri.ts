import { Option } from "commander";

import { InvalidArgumentError, messageOf } from "../../errors/index.ts";
import { LibvirtUriError } from "../../libvirt/errors.ts";
import { parseConnectionUri } from "../../libvirt/uri.ts";

/** An option that takes a connection of libvirt's: checked also where the verb needs none. */
export function uriOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser(parseUri);
}

function parseUri(text: string): string {
  try {
    parseConnectionUri(text);
    return text;
  } catch (error) {
    if (!(error instanceof LibvirtUriError)) throw error;
    throw new InvalidArgumentError("uri", `--uri: ${messageOf(error)}`, {
      cause: error,
      hint: "for this user's own machines: --uri qemu:///session",
    });
  }
}
