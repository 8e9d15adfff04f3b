/** A libvirt that lives in memory, for tests of what the backend does with one. */
import { PassThrough } from "node:stream";

import type { DomainState, DomainStatus, HostCapabilities, LibvirtHost, Storage } from "../host.ts";

export interface MemoryHost extends LibvirtHost {
  volumes: Map<string, { content?: Buffer; backing?: string }>;
  machines: Map<string, DomainStatus & { xml: string }>;
  /** Calls made so far, in order: `start heyvm-sb-…`. */
  calls: string[];
  /** The next call whose text starts with this fails. */
  failOn: string | undefined;
}

export function createMemoryHost(capabilities: Partial<HostCapabilities> = {}): MemoryHost {
  const volumes: MemoryHost["volumes"] = new Map();
  const machines: MemoryHost["machines"] = new Map();
  const listeners = new Set<(domain: string) => void>();
  const folder = "/pool";

  function call(text: string, signal: AbortSignal): void {
    signal.throwIfAborted();
    host.calls.push(text);
    if (host.failOn !== undefined && text.startsWith(host.failOn)) {
      host.failOn = undefined;
      throw new Error(`planted failure of ${text}`);
    }
  }

  function setState(domain: string, state: DomainState): void {
    const machine = machines.get(domain);
    if (machine === undefined) throw new Error(`no domain ${domain}`);
    machine.state = state;
    for (const listener of listeners) listener(domain);
  }

  function switchOff(domain: string): void {
    if (machines.has(domain)) setState(domain, "off");
  }

  const storage: Storage = {
    folder,
    path: (volume) => `${folder}/${volume}`,
    list: (signal) => attempt("list volumes", signal, () => [...volumes.keys()]),
    has: (volume, signal) => attempt(`has ${volume}`, signal, () => volumes.has(volume)),
    createOverlay: (volume, backing, _capacity, signal) =>
      attempt(`overlay ${volume}`, signal, () => {
        if (volumes.has(volume)) throw new Error(`${volume} exists`);
        volumes.set(volume, { backing: backing.path });
      }),
    async createFile(volume, _size, content, signal) {
      call(`file ${volume}`, signal);
      if (volumes.has(volume)) throw new Error(`${volume} exists`);
      volumes.set(volume, { content: Buffer.concat(await collect(content)) });
    },
    read: (volume, maxBytes, signal) =>
      attempt(`read ${volume}`, signal, () => volumes.get(volume)?.content?.subarray(-maxBytes)),
    backingOf: (volume, signal) => attempt(`backing ${volume}`, signal, () => volumes.get(volume)?.backing),
    copy: (volume, to, signal) =>
      attempt(`copy ${volume}`, signal, () => void volumes.set(to, { ...volumes.get(volume) })),
    remove: (volume, signal) => attempt(`remove ${volume}`, signal, () => void volumes.delete(volume)),
  };

  async function attempt<T>(text: string, signal: AbortSignal, work: () => T): Promise<T> {
    call(text, signal);
    return work();
  }

  const host: MemoryHost = {
    uri: "qemu:///session",
    isLocal: true,
    volumes,
    machines,
    calls: [],
    failOn: undefined,
    capabilities: async () => ({
      accelerators: { x86_64: ["tcg"], aarch64: ["tcg"] },
      memoryBytes: 8 * 1024 ** 3,
      qemuAccount: undefined,
      // No machine is cloned here: there is no QEMU behind it.
      confinement: "apparmor",
      emulators: { x86_64: "/usr/bin/qemu-system-x86_64" },
      libvirtVersion: "9.0.0",
      ...capabilities,
    }),
    storage: async () => storage,
    pidFile: () => undefined,
    warnings: () => [],
    close: async () => undefined,
    domains: {
      define: (xml, signal) => {
        const name = nameOf(xml);
        return attempt(`define ${name}`, signal, () => {
          const uuid = uuidOf(machines.get(name)?.xml ?? xml);
          if (uuid !== uuidOf(xml)) throw new Error(`domain ${name} already exists with uuid ${uuid}`);
          machines.set(name, { xml, state: "off" });
        });
      },
      start: (domain, signal) => attempt(`start ${domain}`, signal, () => setState(domain, "running")),
      startPaused: (xml, signal) => {
        const name = nameOf(xml);
        return attempt(`start paused ${name}`, signal, () => {
          if (!machines.has(name)) machines.set(name, { xml, state: "off" });
          setState(name, "paused");
        });
      },
      setTitle: (_domain, _title, signal) => unplayed("setTitle", signal),
      monitor: (_domain, command, _args, signal) => unplayed(command, signal),
      activity: (_domain, signal) => unplayed("activity", signal),
      powerOff: (domain, signal) => attempt(`power off ${domain}`, signal, () => switchOff(domain)),
      kill: (domain, signal) => attempt(`kill ${domain}`, signal, () => switchOff(domain)),
      remove: (domain, signal) => attempt(`undefine ${domain}`, signal, () => void machines.delete(domain)),
      suspend: (domain, signal) => attempt(`suspend ${domain}`, signal, () => setState(domain, "paused")),
      reset: (_domain, signal) => unplayed("reset", signal),
      resume: (domain, signal) => attempt(`resume ${domain}`, signal, () => setState(domain, "running")),
      status: (domain, signal) =>
        attempt(`status ${domain}`, signal, () => {
          const machine = machines.get(domain);
          if (machine === undefined) return undefined;
          const { state, reason, code } = machine;
          return { state, reason, code };
        }),
      xml: (domain, signal) => attempt(`xml ${domain}`, signal, () => machines.get(domain)?.xml),
      list: (signal) => attempt("list domains", signal, () => [...machines.keys()]),
      openChannel: (domain, channel, signal) =>
        attempt(`channel ${channel} of ${domain}`, signal, () => new PassThrough()),
      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
  };
  return host;
}

function nameOf(xml: string): string {
  return /<name>(.*)<\/name>/.exec(xml)?.[1] ?? "";
}

function uuidOf(xml: string): string | undefined {
  return /<uuid>(.*)<\/uuid>/.exec(xml)?.[1];
}

function unplayed(what: string, signal: AbortSignal): Promise<never> {
  signal.throwIfAborted();
  return Promise.reject(new Error(`a libvirt in memory has no ${what}`));
}

async function collect(content: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return chunks;
}
