/** How one sandbox's machine is. */
import type { MachineStatus } from "../../backend.ts";
import type { LibvirtHost } from "../host.ts";
import { machineNames } from "../names.ts";
import { isForeignMachine, type Ownership } from "./ownership.ts";

/** As libvirt tells; another state folder's machine, and one without its disk, count as failed. */
export async function machineStatus(
  host: LibvirtHost,
  ownership: Ownership,
  id: string,
  signal: AbortSignal,
): Promise<MachineStatus> {
  const { domain, disk } = machineNames(id);
  const found = await host.domains.status(domain, signal);
  if (found === undefined) return { id, state: "absent" };
  if (await isForeignMachine(host, ownership, id, signal)) {
    return { id, state: "failed", reason: `the machine ${domain} belongs to another state folder` };
  }
  const { state, reason, code } = found;
  if (state !== "off") {
    // QEMU only paused it: nothing is lost, and the write is tried again when it goes on.
    return { id, state: code === "disk_full" ? "paused" : state, reason, code };
  }
  const storage = await host.storage(signal);
  return (await storage.has(disk, signal))
    ? { id, state: "stopped" }
    : { id, state: "failed", reason: `its disk is gone: ${storage.path(disk)}` };
}
