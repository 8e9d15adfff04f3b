import { HeyvmError } from "../errors/index.ts";

/** Nobody answers at the API's address, or what answers is not heyvm. */
export class DaemonUnavailableError extends HeyvmError {
  constructor(
    message: string,
    context: { hint?: string; cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super("daemon_unavailable", message, context);
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
