/** Which folders of this host the machines see that libvirt has, whoever made them. */
import { shellQuoted } from "../../../errors/index.ts";
import type { MountedMachine } from "../../abilities.ts";
import { readMetadata } from "../domain/domain-metadata.ts";
import type { LibvirtHost } from "../host.ts";
import { machineOfDomain } from "../names.ts";
import { isForeign, type Ownership } from "./ownership.ts";
import { ownMachineIn } from "../storage/prune.ts";
import { attributeOf, elementsAt, parseXml } from "../domain/xml.ts";

/** Returns the sandboxes' machines that are not off, but for those that are `known`. */
export async function mountedMachines(
  host: LibvirtHost,
  ownership: Ownership,
  known: Pick<ReadonlySet<string>, "has">,
  signal: AbortSignal,
): Promise<MountedMachine[]> {
  // What another host's machines see are its own folders.
  if (!host.isLocal) return [];
  const found: MountedMachine[] = [];
  for (const domain of await host.domains.list(signal)) {
    const id = machineOfDomain(domain);
    if (id?.startsWith("sb-") !== true || known.has(id)) continue;
    const status = await host.domains.status(domain, signal);
    if (status === undefined || status.state === "off") continue;
    const xml = await host.domains.xml(domain, signal);
    if (xml === undefined) continue;
    const metadata = readMetadata(xml);
    const { name, mounts } =
      metadata?.kind === "sandbox" ? metadata.spec : { name: id, mounts: mountsIn(xml) };
    found.push({
      id,
      name,
      isForeign: isForeign(ownership, xml),
      isPrunable: ownMachineIn(ownership, xml) === id,
      lastResort: `virsh -c ${shellQuoted(host.uri)} destroy ${domain}`,
      mounts,
    });
  }
  return found;
}

/** For a machine whose metadata somebody has edited, or another version has written. */
function mountsIn(domainXml: string): MountedMachine["mounts"] {
  return elementsAt(parseXml(domainXml), "domain", "devices", "filesystem").flatMap((device) => {
    const hostPath = attributeOf(elementsAt(device, "source")[0], "dir");
    return hostPath === undefined ? [] : [{ hostPath, readOnly: "readonly" in device }];
  });
}
