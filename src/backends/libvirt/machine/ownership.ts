/** Whose a machine is: of all that several state folders have on one libvirt, each touches its own alone. */
import { HeyvmError } from "../../../errors/index.ts";
import { ownerOf } from "../domain/domain-metadata.ts";
import type { LibvirtHost } from "../host.ts";
import { machineNames } from "../names.ts";

/** How the machines of a state folder are marked. */
export interface Ownership {
  /** The state folder's id. */
  owner: string;
  /** What an earlier version wrote; a machine gets the present mark when it is next defined. */
  formerOwner?: string | undefined;
}

/** A record of ours, maybe a copied one, names a machine that is not. */
export class ForeignMachineError extends HeyvmError {
  constructor(domain: string, uri: string) {
    super("wrong_state", `the machine ${domain} at ${uri} belongs to another state folder`, {
      hint: "use the state folder that made it, by MVM_DATA_DIR; heyvm rm removes this one's record alone",
      details: { domain },
    });
  }
}

/** Whether this mark is ours. */
export function isOwner({ owner, formerOwner }: Ownership, mark: string): boolean {
  return mark === owner || mark === formerOwner;
}

/** Whether a domain is marked as somebody else's. One whose mark was removed is whose record it is in. */
export function isForeign(ownership: Ownership, domainXml: string): boolean {
  const mark = ownerOf(domainXml);
  return mark !== undefined && !isOwner(ownership, mark);
}

/** Whether a sandbox's domain exists and is somebody else's. */
export async function isForeignMachine(
  host: LibvirtHost,
  ownership: Ownership,
  id: string,
  signal: AbortSignal,
): Promise<boolean> {
  const xml = await host.domains.xml(machineNames(id).domain, signal);
  return xml !== undefined && isForeign(ownership, xml);
}

/** Throws `ForeignMachineError` for a machine that is somebody else's. */
export async function refuseForeignMachine(
  host: LibvirtHost,
  ownership: Ownership,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  if (await isForeignMachine(host, ownership, id, signal)) {
    throw new ForeignMachineError(machineNames(id).domain, host.uri);
  }
}
