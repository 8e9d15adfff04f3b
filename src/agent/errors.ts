import { type ErrorContext, HeyvmError } from "../errors/index.ts";
import { guestText } from "./guest-text.ts";

/** What came from the guest breaks the protocol: the session is over, nothing of it is trusted. */
export class GuestMisbehavedError extends HeyvmError {
  constructor(what: string, context: ErrorContext = {}) {
    super("guest_misbehaved", `the guest's agent broke the protocol: ${guestText(what)}`, {
      hint: "restart the sandbox; when it happens again, do not trust what runs in it",
      ...context,
    });
  }
}

/** The guest did not answer in time, or its pipe did not come back. */
export class GuestUnresponsiveError extends HeyvmError {
  constructor(message: string, context: ErrorContext = {}) {
    super("guest_unresponsive", message, {
      hint: "look at what the guest printed while it booted: heyvm logs <sandbox>",
      ...context,
    });
  }
}

/** The agent's session is over, so the call could not be made or finished. */
export class SessionClosedError extends HeyvmError {
  constructor(what: string, cause?: unknown) {
    super("guest_failed", `${what}: the session with the guest's agent was closed`, { cause });
  }
}

/** The agent was restarted (or the guest was): what ran in the session is gone. */
export class SessionLostError extends HeyvmError {
  constructor(why: string) {
    super("guest_failed", `the guest's agent no longer knows this session: ${guestText(why)}`);
  }
}

/** A call took longer than its deadline. */
export class CallTimeoutError extends HeyvmError {
  constructor(what: string, timeoutMs: number) {
    super("timeout", `${what} took longer than ${timeoutMs} ms`, { details: { timeout_ms: timeoutMs } });
  }
}

/** The guest has no such file, user or process. */
export class GuestPathNotFoundError extends HeyvmError {
  constructor(message: string, context: ErrorContext = {}) {
    super("path_not_found", message, context);
  }
}

/** The guest's own permissions forbid it. */
export class GuestPermissionError extends HeyvmError {
  constructor(message: string, context: ErrorContext = {}) {
    super("permission_denied", message, context);
  }
}

/** A command could not be started; `details.reason` says why. */
export class CommandNotStartableError extends HeyvmError {
  constructor(message: string, context: ErrorContext = {}) {
    super("command_not_startable", message, context);
  }
}

/** The guest refuses a value: a directory where a file was meant, a signal that does not exist, … */
export class GuestRefusedError extends HeyvmError {
  constructor(message: string, context: ErrorContext = {}) {
    super("invalid_argument", message, context);
  }
}

/** The guest lacks something that the operation needs. */
export class GuestUnsupportedError extends HeyvmError {
  constructor(message: string, context: ErrorContext = {}) {
    super("unsupported", message, context);
  }
}

/** An operation failed inside the guest; `details.reason` is the agent's own code. */
export class GuestFailedError extends HeyvmError {
  constructor(message: string, context: ErrorContext = {}) {
    super("guest_failed", message, context);
  }
}
