/** Calls that reach into a domain's devices: streams, disks, hot plug. */
import type { Duplex, Readable } from "node:stream";

import type { CallOptions } from "../call-options.ts";
import type { DomainRef, ImpactOptions } from "./domain.ts";

export interface OpenStreamOptions extends CallOptions {
  /** Takes the device over from a client that has it open. */
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
