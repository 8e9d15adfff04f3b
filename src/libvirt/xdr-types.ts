/** How the things that several calls share look on the wire. */
import { LibvirtProtocolError, type LibvirtErrorFields } from "./errors.ts";
import type { XdrReader, XdrWriter } from "./xdr.ts";

/** How libvirt names a domain on the wire. */
export interface DomainRef {
  name: string;
  /** Lower case, with dashes. */
  uuid: string;
  /** -1 when it does not run. */
  id: number;
}

/** A value that libvirt names itself. Whole numbers beyond what a number holds exactly are bigints. */
export type TypedValue = number | bigint | boolean | string;

export interface SnapshotRef {
  name: string;
  domain: DomainRef;
}

export interface StoragePoolRef {
  name: string;
  uuid: string;
}

export interface VolumeRef {
  pool: string;
  name: string;
  /** Unique on the host; for a file, its path. */
  key: string;
}

/** Libvirt's own limit for lists of domains, volumes and so on. */
export const maxListItems = 16_384;
const maxTypedParameters = 16_384;

export function writeDomain(writer: XdrWriter, domain: DomainRef): XdrWriter {
  return writer.string(domain.name).fixedOpaque(uuidBytes(domain.uuid)).i32(domain.id);
}

export function readDomain(reader: XdrReader): DomainRef {
  return { name: reader.string(), uuid: readUuid(reader), id: reader.i32() };
}

/** The least that a domain takes: an empty name, the UUID, the id. */
export const domainBytes = 24;

export function writeSnapshot(writer: XdrWriter, snapshot: SnapshotRef): XdrWriter {
  return writeDomain(writer.string(snapshot.name), snapshot.domain);
}

export function readSnapshot(reader: XdrReader): SnapshotRef {
  return { name: reader.string(), domain: readDomain(reader) };
}

export function writePool(writer: XdrWriter, pool: StoragePoolRef): XdrWriter {
  return writer.string(pool.name).fixedOpaque(uuidBytes(pool.uuid));
}

export function readPool(reader: XdrReader): StoragePoolRef {
  return { name: reader.string(), uuid: readUuid(reader) };
}

export function writeVolume(writer: XdrWriter, volume: VolumeRef): XdrWriter {
  return writer.string(volume.pool).string(volume.name).string(volume.key);
}

export function readVolume(reader: XdrReader): VolumeRef {
  return { pool: reader.string(), name: reader.string(), key: reader.string() };
}

/** The 16 bytes of a UUID, dashes or not. */
export function uuidBytes(uuid: string): Buffer {
  const hex = uuid.replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/i.test(hex)) throw new TypeError(`not a UUID: ${JSON.stringify(uuid)}`);
  return Buffer.from(hex, "hex");
}

/** Libvirt's values with names. Whole numbers that a number can't hold exactly are bigints. */
export function readTypedParameters(reader: XdrReader): Record<string, TypedValue> {
  const entries = reader.array(
    maxTypedParameters,
    12,
    () => [reader.string(), readTypedValue(reader)] as const,
  );
  return Object.fromEntries(entries);
}

/** A count of bytes and the like; what is beyond 2^53 loses its last digits. */
export function readCount(reader: XdrReader): number {
  return Number(reader.u64());
}

export function readErrorFields(reader: XdrReader): LibvirtErrorFields {
  const code = reader.i32();
  const domain = reader.i32();
  const message = reader.optionalString() ?? "";
  const level = reader.i32();
  // A domain and (at the very end) a network may be attached; libvirt itself has not used them for years.
  reader.optional(() => readDomain(reader));
  const strings = [reader.optionalString(), reader.optionalString(), reader.optionalString()];
  const int1 = reader.i32();
  const int2 = reader.i32();
  reader.optional(() => readPool(reader));
  return { code, domain, level, message, strings: strings.filter((text) => text !== undefined), int1, int2 };
}

function readUuid(reader: XdrReader): string {
  const hex = reader.fixedOpaque(16).toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

function readTypedValue(reader: XdrReader): TypedValue {
  const type = reader.u32();
  switch (type) {
    case 1:
      return reader.i32();
    case 2:
      return reader.u32();
    case 3:
      return exactNumber(reader.i64());
    case 4:
      return exactNumber(reader.u64());
    case 5:
      return reader.f64();
    case 6:
      return reader.i32() !== 0;
    case 7:
      return reader.string();
    default:
      throw new LibvirtProtocolError(`libvirt sent a value of the unknown type ${type}`);
  }
}

function exactNumber(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
