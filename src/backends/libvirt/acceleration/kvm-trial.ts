/**
 * KVM tried through libvirt, where it cannot be tried from here: on another host, or when only QEMU's own user may open
 * the device. The guest is that of `kvm-guest.ts`; port 0xf4 is a debug console here, whose log shows that it got so far.
 */
import { setTimeout as delay } from "node:timers/promises";
import { XMLBuilder } from "fast-xml-parser";

import { timeoutSignal } from "../../../core/deadline.ts";
import { HeyvmError, messageOf } from "../../../errors/index.ts";
import { metadataElement, type PreparationMetadata } from "../domain/domain-metadata.ts";
import { consoleDevices, diskDevice } from "../domain/domain-devices.ts";
import type { LibvirtHost } from "../host.ts";
import { kvmGuestDisk, kvmGuestMark, kvmGuestPort } from "./kvm-guest.ts";
import type { KvmVerdict } from "./kvm-verdict.ts";
import { machineNames, newBuild, uuidFor } from "../names.ts";
import { markOfThisProcess } from "../process-mark.ts";

const deadlineMs = 15_000;
const lookIntervalMs = 100;
const undoTimeoutMs = 30_000;

/** Runs the guest, as the machine of `owner`, and removes it. libvirt's refusal to define or start it is a verdict, too. */
export async function tryKvm(host: LibvirtHost, owner: string, signal: AbortSignal): Promise<KvmVerdict> {
  const build = newBuild();
  const id = `preparing-${build}`;
  const names = machineNames(id);
  const storage = await host.storage(signal);
  // As a preparation, so that it is removed like one when this process dies.
  const maker = await markOfThisProcess();
  const metadata: PreparationMetadata = {
    kind: "preparation",
    id,
    owner,
    key: "kvm",
    build,
    maker,
  };
  try {
    const [disk, log] = [storage.path(names.seed), storage.path(names.consoleLog)];
    await host.domains.define(guestXml(names.domain, metadata, disk, log), signal);
    const content = kvmGuestDisk();
    await storage.createFile(names.seed, content.length, chunks(content), signal);
    await host.domains.start(names.domain, signal);
    const deadline = performance.now() + deadlineMs;
    while (performance.now() < deadline) {
      const printed = await storage.read(names.consoleLog, 64, signal);
      if (printed?.includes(kvmGuestMark) === true)
        return { usable: true, message: "a guest ran under KVM, through libvirt" };
      // Nothing tells of a log on another host that has grown.
      await delay(lookIntervalMs, undefined, { signal });
    }
    return unusable(`a guest under KVM hung for ${deadlineMs / 1000} s and was ended`);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof HeyvmError && error.code !== "backend_failed") throw error;
    return unusable(`libvirt could not run a guest under KVM: ${firstLine(messageOf(error))}`);
  } finally {
    const undo = timeoutSignal(undoTimeoutMs);
    await host.domains.powerOff(names.domain, undo).catch(() => undefined);
    await storage.remove(names.seed, undo).catch(() => undefined);
    await storage.remove(names.consoleLog, undo).catch(() => undefined);
    await host.domains.remove(names.domain, undo).catch(() => undefined);
  }
}

function unusable(message: string): KvmVerdict {
  return { usable: false, problem: "guest", message };
}

function guestXml(name: string, metadata: PreparationMetadata, disk: string, log: string): string {
  const { serial } = consoleDevices(log);
  return new XMLBuilder({
    ignoreAttributes: false,
    attributeNamePrefix: "@",
    suppressEmptyNode: true,
    suppressBooleanAttributes: false,
  }).build({
    domain: {
      "@type": "kvm",
      name,
      uuid: uuidFor(metadata.id),
      title: "heyvm: trying KVM",
      metadata: metadataElement(metadata),
      memory: { "@unit": "MiB", "#text": 64 },
      vcpu: 1,
      os: { type: { "@arch": "x86_64", "@machine": "q35", "#text": "hvm" }, boot: { "@dev": "hd" } },
      features: { acpi: "", apic: "" },
      cpu: { "@mode": "host-passthrough", "@check": "none" },
      on_reboot: "destroy",
      devices: {
        disk: diskDevice({ path: disk, format: "raw", readOnly: true }, 0),
        controller: { "@type": "usb", "@model": "none" },
        serial: {
          ...serial,
          target: { "@type": "isa-debug", model: { "@name": "isa-debugcon" } },
          address: { "@type": "isa", "@iobase": `0x${kvmGuestPort.toString(16)}` },
        },
        memballoon: { "@model": "none" },
      },
    },
  });
}

function firstLine(message: string): string {
  return message.split("\n")[0] ?? message;
}

async function* chunks(content: Buffer): AsyncGenerator<Uint8Array> {
  yield content;
}
