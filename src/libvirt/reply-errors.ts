/** What a failed call is told by. */
import {
  LibvirtError,
  LibvirtProtocolError,
  LibvirtUnsupportedError,
  type LibvirtClientError,
} from "./errors.ts";
import type { ProcedureName } from "./procedures.ts";
import { readErrorFields } from "./xdr-types.ts";
import { XdrReader } from "./xdr.ts";

/** The error in the body of a packet with status `error`. */
export function errorReply(name: ProcedureName, body: Buffer): LibvirtClientError {
  try {
    const fields = readErrorFields(new XdrReader(body));
    return isUnsupported(fields.code, fields.message)
      ? new LibvirtUnsupportedError(name, fields)
      : new LibvirtError(name, fields);
  } catch (error) {
    return misread(name, error);
  }
}

/** A daemon that does not know a procedure says so with a general code and this text, in no other language. */
function isUnsupported(code: number, message: string): boolean {
  if (code === 3) return true;
  return (code === 1 || code === 39) && /unknown procedure|cannot find program/i.test(message);
}

/** The error for an answer that is not what the protocol says. */
export function misread(name: ProcedureName, error: unknown): LibvirtClientError {
  const why = error instanceof Error ? error.message : String(error);
  return new LibvirtProtocolError(`could not understand libvirt's answer to ${name}: ${why}`, {
    cause: error,
  });
}

/** Where a call was made; an error that arrives later knows only the socket that it came from. */
export interface CallSite {
  stack?: string;
}

export function callSite(above: (...args: never[]) => unknown): CallSite {
  const site: CallSite = {};
  Error.captureStackTrace(site, above);
  return site;
}

/** Lets the error say where the call was made rather than where its answer was read. */
export function tellSite<E extends Error>(error: E, site: CallSite): E {
  const frames = site.stack?.split("\n").slice(1) ?? [];
  error.stack = [`${error.name}: ${error.message}`, ...frames].join("\n");
  return error;
}
