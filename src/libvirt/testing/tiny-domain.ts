/** Machines that boot in no time because they have nothing to boot. */
import type { DomainRef, LibvirtConnection } from "../index.ts";

export const tinyChannelName = "org.example.test.0";

/** 32 MiB, no disk; a serial console on which the firmware speaks, and a channel. */
export function tinyDomainXml(name: string, extraDevices = ""): string {
  return `<domain type='qemu'><name>${name}</name><memory unit='MiB'>32</memory>
    <os><type arch='x86_64' machine='q35'>hvm</type><bios useserial='yes'/></os>
    <features><acpi/></features>
    <devices>
      <serial type='pty'/>
      <channel type='unix'><target type='virtio' name='${tinyChannelName}'/></channel>
      ${extraDevices}
    </devices></domain>`;
}

export interface TemporaryDomain extends AsyncDisposable {
  domain: DomainRef;
}

/** A defined domain, started paused when asked; it is gone after its scope. */
export async function withDomain(
  connection: LibvirtConnection,
  name: string,
  { start = false, extraDevices = "" } = {},
): Promise<TemporaryDomain> {
  const { domains } = connection;
  const defined = await domains.defineXml(tinyDomainXml(name, extraDevices));
  const domain = start ? await domains.create(defined, { paused: true }) : defined;
  return {
    domain,
    async [Symbol.asyncDispose]() {
      const { state } = await domains.state(domain);
      if (state !== "shutoff") await domains.destroy(domain);
      await domains.undefine(domain, { managedSave: true, snapshotsMetadata: true });
    },
  };
}
