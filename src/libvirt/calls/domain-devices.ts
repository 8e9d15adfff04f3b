/** Calls that reach into a domain's devices: streams, disks, hot plug. */
import type { Duplex, Readable } from "node:stream";

import type { CallOptions } from "../call-options.ts";
import { nothing, type Rpc } from "../rpc.ts";
import type { ProcedureName } from "../procedures.ts";
import type { StreamOpener } from "../stream-opener.ts";
import { writeDomain, type DomainRef } from "../xdr-types.ts";
import { impactBits } from "./domain-metadata.ts";
import type { ImpactOptions } from "./domain.ts";
import { flags } from "./flags.ts";

export interface OpenStreamOptions extends CallOptions {
  /**
   * Takes the device over from a client that has it open. libvirtd 9 ends with a segmentation fault when that client has
   * gone and it has not noticed, which it does not while five of its requests wait for a guest that reads nothing.
   */
  force?: boolean | undefined;
}

export interface Screenshot {
  /** For example `image/png` or `image/x-portable-pixmap`. */
  mimeType: string | undefined;
  image: Readable;
}

/**
 * Each stream has a connection of its own, dialled when it opens and closed with it: nobody else waits when its reader
 * is slow. `timeoutMs` is for opening it; `signal` ends the open stream, too.
 */
export interface DomainDeviceCalls {
  /** The guest's end is `/dev/virtio-ports/<name>`. Ends when the domain does. */
  openChannel(domain: DomainRef, name: string, options?: OpenStreamOptions): Promise<Duplex>;
  /** `device`: its alias, such as `serial0`; the first console unless told. What was printed before is lost. */
  openConsole(domain: DomainRef, device?: string, options?: OpenStreamOptions): Promise<Duplex>;
  screenshot(domain: DomainRef, screen?: number, options?: CallOptions): Promise<Screenshot>;
  /** Tells the running guest that its disk (a target such as `vda`, or a path) has grown. */
  blockResize(domain: DomainRef, disk: string, sizeBytes: number, options?: CallOptions): Promise<void>;
  attach(domain: DomainRef, deviceXml: string, options?: ImpactOptions): Promise<void>;
  detach(domain: DomainRef, deviceXml: string, options?: ImpactOptions): Promise<void>;
  update(domain: DomainRef, deviceXml: string, options?: ImpactOptions): Promise<void>;
}

export function domainDeviceCalls(rpc: Rpc, streams: StreamOpener): DomainDeviceCalls {
  const openPipe = async (
    name: "domainOpenChannel" | "domainOpenConsole",
    domain: DomainRef,
    device: string | undefined,
    options: OpenStreamOptions = {},
  ): Promise<Duplex> => {
    const { stream } = await streams.open(
      {
        name,
        direction: "both",
        write: (writer) =>
          writeDomain(writer, domain)
            .optionalString(device)
            .u32(flags([options.force, 1])),
        read: nothing,
      },
      options,
    );
    return stream;
  };

  const change = (
    name: ProcedureName,
    domain: DomainRef,
    deviceXml: string,
    options: ImpactOptions = {},
  ): Promise<void> =>
    rpc.call(
      name,
      (writer) => writeDomain(writer, domain).string(deviceXml).u32(impactBits(options)),
      nothing,
      options,
    );

  return {
    openChannel: (domain, name, options) => openPipe("domainOpenChannel", domain, name, options),
    openConsole: (domain, device, options) => openPipe("domainOpenConsole", domain, device, options),
    async screenshot(domain, screen = 0, options = {}) {
      const { reply, stream } = await streams.open(
        {
          name: "domainScreenshot",
          direction: "in",
          write: (writer) => writeDomain(writer, domain).u32(screen).u32(0),
          read: (reader) => reader.optionalString(),
        },
        options,
      );
      return { mimeType: reply, image: stream };
    },
    blockResize: (domain, disk, sizeBytes, options) =>
      rpc.call(
        "domainBlockResize",
        // The flag says that the size is in bytes rather than KiB.
        (writer) => writeDomain(writer, domain).string(disk).u64(sizeBytes).u32(1),
        nothing,
        options,
      ),
    attach: (domain, xml, options) => change("domainAttachDeviceFlags", domain, xml, options),
    detach: (domain, xml, options) => change("domainDetachDeviceFlags", domain, xml, options),
    update: (domain, xml, options) => change("domainUpdateDeviceFlags", domain, xml, options),
  };
}
