/** Libvirt's packets: a length, six words of header, and a body in XDR or raw stream data. */
import { LibvirtProtocolError } from "./errors.ts";
import { XdrReader, XdrWriter } from "./xdr.ts";

export const packetType = { call: 0, reply: 1, event: 2, stream: 3, streamHole: 6 } as const;
export const packetStatus = { ok: 0, error: 1, continue: 2 } as const;

/** The most that libvirt sends: 32 MiB, and the word with the length. */
export const maxPacketBytes = 32 * 1024 * 1024 + 4;
/** What every libvirt takes as the payload of a stream packet. */
export const maxStreamPayloadBytes = 256 * 1024 - 24;

const headerBytes = 28;

export interface PacketHeader {
  program: number;
  version: number;
  procedure: number;
  type: number;
  serial: number;
  status: number;
}

export interface Packet extends PacketHeader {
  body: Buffer;
}

/** Length and header of a packet whose body is sent after it. */
export function encodeHeader(header: PacketHeader, bodyBytes: number): Buffer {
  const length = headerBytes + bodyBytes;
  if (length > maxPacketBytes) {
    throw new RangeError(`a message of ${length} bytes is longer than libvirt takes (${maxPacketBytes})`);
  }
  return new XdrWriter(headerBytes)
    .u32(length)
    .u32(header.program)
    .u32(header.version)
    .i32(header.procedure)
    .i32(header.type)
    .u32(header.serial)
    .i32(header.status)
    .finish();
}

export function encodePacket(header: PacketHeader, body: Buffer): Buffer {
  const head = encodeHeader(header, body.length);
  return body.length === 0 ? head : Buffer.concat([head, body]);
}

/**
 * Cuts a byte stream into packets. `push` calls `onPacket` for each that is whole; it throws a `LibvirtProtocolError` at
 * the first length that can't be, and the connection is of no use then.
 */
export function createPacketReader(onPacket: (packet: Packet) => void): { push(chunk: Buffer): void } {
  let parts: Buffer[] = [];
  let bytes = 0;
  // How much must be there before it is worth looking again: 4 for the length, then the packet.
  let wanted = 4;

  return {
    push(chunk) {
      parts.push(chunk);
      bytes += chunk.length;
      if (bytes < wanted) return;
      const data = parts.length === 1 ? chunk : Buffer.concat(parts, bytes);
      let at = 0;
      wanted = 4;
      while (data.length - at >= 4) {
        const length = checkedLength(data.readUInt32BE(at));
        if (data.length - at < length) {
          wanted = length;
          break;
        }
        onPacket(decodePacket(data.subarray(at + 4, at + length)));
        at += length;
      }
      const rest = data.subarray(at);
      parts = rest.length === 0 ? [] : [rest];
      bytes = rest.length;
    },
  };
}

function checkedLength(length: number): number {
  if (length < headerBytes || length > maxPacketBytes) {
    throw new LibvirtProtocolError(
      `not libvirt's protocol: a packet of ${length} bytes (${headerBytes} to ${maxPacketBytes} may be)`,
    );
  }
  return length;
}

function decodePacket(data: Buffer): Packet {
  const reader = new XdrReader(data);
  return {
    program: reader.u32(),
    version: reader.u32(),
    procedure: reader.i32(),
    type: reader.i32(),
    serial: reader.u32(),
    status: reader.i32(),
    body: reader.rest(),
  };
}
