/** What can go wrong between this client and a libvirt daemon: one class a cause, one root. */
import { libvirtErrorName, type LibvirtErrorName } from "./error-codes.ts";

/** The root of every error that this client throws on purpose. */
export class LibvirtClientError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** What the daemon says of a failed call, as it is on the wire. */
export interface LibvirtErrorFields {
  /** virErrorNumber. */
  code: number;
  /** virErrorDomain: the part of libvirt that failed, for example 10 for QEMU. */
  domain: number;
  /** 1: warning, 2: error. */
  level: number;
  message: string;
  /** Up to three strings whose meaning depends on the code. */
  strings: readonly string[];
  int1: number;
  int2: number;
}

/** The daemon carried the call out and it failed. Tell causes apart by `code` or `codeName`, not by the text. */
export class LibvirtError extends LibvirtClientError {
  readonly code: number;
  readonly codeName: LibvirtErrorName | undefined;
  readonly domain: number;
  readonly level: number;
  readonly strings: readonly string[];
  readonly int1: number;
  readonly int2: number;
  /** The name of the procedure that failed, for example `domainCreateWithFlags`. */
  readonly procedure: string;

  constructor(procedure: string, fields: LibvirtErrorFields) {
    super(fields.message === "" ? `libvirt failed with code ${fields.code} and no message` : fields.message);
    this.code = fields.code;
    this.codeName = libvirtErrorName(fields.code);
    this.domain = fields.domain;
    this.level = fields.level;
    this.strings = fields.strings;
    this.int1 = fields.int1;
    this.int2 = fields.int2;
    this.procedure = procedure;
  }

  /** Whether `error` is libvirt's with this code. */
  static hasCode(error: unknown, ...names: LibvirtErrorName[]): error is LibvirtError {
    return error instanceof LibvirtError && error.codeName !== undefined && names.includes(error.codeName);
  }
}

/** The daemon does not know the procedure, or its driver does not implement it. */
export class LibvirtUnsupportedError extends LibvirtError {}

/** No daemon could be reached. */
export class LibvirtConnectError extends LibvirtClientError {}

/** The daemon wants an authentication that this client does not offer, or it said no. */
export class LibvirtAuthError extends LibvirtClientError {
  /** What the daemon asks for: `sasl`, `polkit`, or its number. */
  readonly method: string;

  constructor(method: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.method = method;
  }
}

/** The connection ended while calls or streams were under way, or before this one was made. */
export class LibvirtConnectionLostError extends LibvirtClientError {
  /** What the system, or ssh, said of it. */
  readonly reason: string | undefined;

  constructor(message: string, reason?: string) {
    super(reason === undefined ? message : `${message}: ${reason}`);
    this.reason = reason;
  }
}

/** A call had no answer within its deadline. The daemon may still carry it out. */
export class LibvirtTimeoutError extends LibvirtClientError {
  readonly timeoutMs: number;

  constructor(what: string, timeoutMs: number) {
    super(`${what} had no answer from libvirt within ${timeoutMs} ms; it may still be carried out`);
    this.timeoutMs = timeoutMs;
  }
}

/** The caller's signal aborted. `cause` is the signal's reason. The daemon may still carry the call out. */
export class LibvirtAbortError extends LibvirtClientError {
  constructor(what: string, reason: unknown) {
    super(`${what} was aborted`, { cause: reason });
  }
}

/** The peer sent something that is not libvirt's protocol. */
export class LibvirtProtocolError extends LibvirtClientError {}

/** The URI is not one that this client can connect to. */
export class LibvirtUriError extends LibvirtClientError {}

/** QEMU, or the guest's QEMU agent, answered a command with an error. */
export class QemuCommandError extends LibvirtClientError {
  readonly command: string;
  /** QMP's error class, for example `GenericError`. */
  readonly errorClass: string;

  constructor(command: string, errorClass: string, description: string) {
    super(`QEMU command ${command} failed: ${description}`);
    this.command = command;
    this.errorClass = errorClass;
  }
}
