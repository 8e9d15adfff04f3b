import { createBackendOn, type LibvirtBackend, type LibvirtBackendOptions } from "./libvirt-backend.ts";
import { createLibvirtHost } from "./libvirt-host.ts";

export type { LibvirtBackendOptions } from "./libvirt-backend.ts";

/** Makes the backend for one connection URI; connects with the first call. */
export function createLibvirtBackend(options: LibvirtBackendOptions): LibvirtBackend {
  return createBackendOn(createLibvirtHost(options.uri), options);
}
