import { openStateIdentity } from "../../config/state-identity.ts";
import { createBackendOn, type LibvirtBackend, type LibvirtBackendOptions } from "./libvirt-backend.ts";
import { createLibvirtHost } from "./connection/libvirt-host.ts";

export type { LibvirtBackendOptions } from "./libvirt-backend.ts";

/** Makes the backend for one connection URI; connects with the first call. */
export async function createLibvirtBackend(
  options: Omit<LibvirtBackendOptions, "ownership">,
): Promise<LibvirtBackend> {
  const { id: owner, formerOwner } = await openStateIdentity(options.stateFolder);
  return createBackendOn(createLibvirtHost(options.uri), { ...options, ownership: { owner, formerOwner } });
}
