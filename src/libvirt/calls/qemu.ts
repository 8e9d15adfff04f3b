/** What libvirt passes on to QEMU and to the QEMU guest agent. */
import type { CallOptions } from "../call-options.ts";
import { LibvirtProtocolError, QemuCommandError } from "../errors.ts";
import type { Rpc } from "../rpc.ts";
import { writeDomain, type DomainRef } from "../xdr-types.ts";

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

/** The agent's own deadline in the call: libvirt's default, which is five seconds. */
const agentDefaultTimeout = -1;

export function qemuCalls(rpc: Rpc): QemuCalls {
  return {
    async monitorCommand(domain, command, options) {
      const answer = await rpc.call(
        "qemuDomainMonitorCommand",
        (writer) => writeDomain(writer, domain).string(JSON.stringify(command)).u32(0),
        (reader) => reader.string(),
        options,
      );
      return returnValue(command.execute, answer);
    },
    async agentCommand(domain, command, options) {
      const answer = await rpc.call(
        "qemuDomainAgentCommand",
        (writer) =>
          writeDomain(writer, domain).string(JSON.stringify(command)).i32(agentDefaultTimeout).u32(0),
        (reader) => reader.optionalString(),
        options,
      );
      return answer === undefined ? undefined : returnValue(command.execute, answer);
    },
  };
}

/** QMP answers `{"return": …}` or `{"error": {"class": …, "desc": …}}`. */
function returnValue(command: string, answer: string): unknown {
  const parsed = parseObject(command, answer);
  if ("return" in parsed) return parsed["return"];
  const error = "error" in parsed ? parsed["error"] : undefined;
  if (typeof error !== "object" || error === null) {
    throw new LibvirtProtocolError(`QEMU's answer to ${command} has neither a return nor an error`);
  }
  const errorClass = "class" in error ? String(error.class) : "GenericError";
  throw new QemuCommandError(command, errorClass, "desc" in error ? String(error.desc) : "no description");
}

function parseObject(command: string, answer: string): object {
  let parsed: unknown;
  try {
    parsed = JSON.parse(answer);
  } catch (error) {
    throw new LibvirtProtocolError(`QEMU's answer to ${command} is not JSON`, { cause: error });
  }
  if (typeof parsed !== "object" || parsed === null) {
    throw new LibvirtProtocolError(`QEMU's answer to ${command} is not an object`);
  }
  return parsed;
}
