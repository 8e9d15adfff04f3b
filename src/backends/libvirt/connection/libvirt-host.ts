/** The libvirt at a URI, in the backend's words. */
import { totalmem } from "node:os";

import { qemuPidFile } from "../../../libvirt/index.ts";
import type { HostCapabilities, LibvirtHost, Storage } from "../host.ts";
import { parseCapabilities } from "./capabilities.ts";
import { createDomains } from "../domain/libvirt-domains.ts";
import { createLibvirtLink } from "./libvirt-link.ts";
import { createStorage, ensurePool } from "../storage/libvirt-storage.ts";

/** Connects with the first call. */
export function createLibvirtHost(uri: string, env: NodeJS.ProcessEnv = process.env): LibvirtHost {
  const link = createLibvirtLink(uri, env);
  const isLocal = /^qemu(\+unix)?:\/\/\//.test(uri);
  const pidFile = (domain: string) => qemuPidFile(uri, domain, env);
  const domains = createDomains(link, { isLocal, pidFile });
  let capabilities: Promise<HostCapabilities> | undefined;
  let storage: Promise<Storage> | undefined;

  async function readCapabilities(signal: AbortSignal): Promise<HostCapabilities> {
    const what = "reading libvirt's capabilities";
    return link.use({ what, signal }, async ({ host }) => {
      const options = { signal, timeoutMs: 60_000 };
      const [document, { memoryBytes }, version] = await Promise.all([
        host.capabilities(options),
        host.nodeInfo(options),
        host.libraryVersion(options),
      ]);
      // libvirt counts what its NUMA nodes have at the moment, which ballooning makes too little.
      const wholeBytes = isLocal ? Math.max(memoryBytes, totalmem()) : memoryBytes;
      const parsed = parseCapabilities(document, wholeBytes, isLocal ? process.geteuid?.() : undefined);
      return { ...parsed, libvirtVersion: version.text };
    });
  }

  async function openStorage(signal: AbortSignal): Promise<Storage> {
    const what = "opening the storage pool";
    const { pool, folder } = await link.use({ what, signal }, (connection) =>
      ensurePool(connection, env, signal),
    );
    return createStorage(link, isLocal, pool, folder);
  }

  return {
    uri,
    isLocal,
    domains,
    pidFile,
    async capabilities(signal) {
      const pending = capabilities ?? readCapabilities(signal);
      capabilities = pending;
      return forgetFailure(pending, () => (capabilities = undefined));
    },
    async storage(signal) {
      const pending = storage ?? openStorage(signal);
      storage = pending;
      return forgetFailure(pending, () => (storage = undefined));
    },
    warnings: link.warnings,
    async close() {
      await domains.close();
      await link.close();
    },
  };
}

/** What failed is tried again the next time. */
async function forgetFailure<T>(pending: Promise<T>, forget: () => void): Promise<T> {
  try {
    return await pending;
  } catch (error) {
    forget();
    throw error;
  }
}
