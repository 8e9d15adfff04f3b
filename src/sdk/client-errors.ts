import { HeyvmError, messageOf } from "../errors/index.ts";

/** Nobody answers at the API's address, or what answers is not heyvm. */
export class DaemonUnavailableError extends HeyvmError {
  constructor(
    message: string,
    context: { hint?: string; cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super("daemon_unavailable", message, context);
  }
}

/** It answers over TLS, with a certificate that Node does not trust for this address, or speaks no TLS. */
export class CertificateUntrustedError extends DaemonUnavailableError {
  constructor(where: string, cause: unknown) {
    super(`${where} is not trusted: ${messageOf(cause)}`, {
      hint: "have Node trust its certificate, and use a name that is in it: export NODE_EXTRA_CA_CERTS=/path/to/cert.pem",
      details: { endpoint: where },
      cause,
    });
  }
}

/** The client's own deadline passed before the daemon answered. */
export class ClientTimeoutError extends HeyvmError {
  constructor(what: string, timeoutMs: number) {
    super("timeout", `${what} did not finish within ${timeoutMs / 1000} s`, {
      hint: "give it longer with the timeoutMs option, and look at the daemon's log",
      details: { timeout_ms: timeoutMs },
    });
  }
}
