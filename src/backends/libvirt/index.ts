import { openStateIdentity } from "../../config/state-identity.ts";
import type { BackendKind } from "../backend-kind.ts";
import { createLibvirtHost } from "./connection/libvirt-host.ts";
import {
  createBackendOn,
  type LibvirtBackend,
  type LibvirtBackendOptions,
  libvirtDescription,
} from "./libvirt-backend.ts";

export const libvirtKind: BackendKind = {
  ...libvirtDescription,
  open: async ({ bootTimeoutMs, ...settings }, uri) =>
    await createLibvirtBackend({ ...settings, uri, agentTimeoutMs: bootTimeoutMs }),
};

/** Makes the backend for one connection URI; connects with the first call. */
export async function createLibvirtBackend(
  options: Omit<LibvirtBackendOptions, "ownership">,
): Promise<LibvirtBackend> {
  const { id: owner, formerOwner } = await openStateIdentity(options.stateFolder);
  return createBackendOn(createLibvirtHost(options.uri), { ...options, ownership: { owner, formerOwner } });
}
