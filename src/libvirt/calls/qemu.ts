/** What libvirt passes on to QEMU and to the QEMU guest agent. */
import type { CallOptions } from "../call-options.ts";
import type { DomainRef } from "./domain.ts";

export interface QemuCalls {
  /**
   * A QMP command past libvirt's back; it taints the domain. Resolves with QMP's `return` value and rejects with a
   * `QemuCommandError` when QEMU answers with an error.
   */
  monitorCommand(domain: DomainRef, command: QmpCommand, options?: CallOptions): Promise<unknown>;
  /** A command of the QEMU guest agent; resolves with its `return` value. */
  agentCommand(domain: DomainRef, command: QmpCommand, options?: CallOptions): Promise<unknown>;
}

export interface QmpCommand {
  execute: string;
  arguments?: Record<string, unknown> | undefined;
}
