import { type ErrorCode, errorCodes } from "./codes.ts";

/** What every heyvm error may carry beside its message. */
export interface ErrorContext {
  /** One command or one setting that mends the cause. */
  hint?: string | undefined;
  /** Machine-readable particulars, in snake case because they go on the wire. */
  details?: Record<string, unknown> | undefined;
  cause?: unknown;
}

/**
 * Root of all heyvm errors. The message says what failed, on which object, with the value seen; `code` says which cause
 * it was; `hint` says what mends it. Each cause has a subclass next to the code that throws it.
 */
export class HeyvmError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = context.hint;
    this.details = context.details;
  }

  /** Whether the same call may succeed later without a change by the caller. */
  get retryable(): boolean {
    return errorCodes[this.code].retryable;
  }
}

/** The caller's own signal ended the work. */
export class AbortedError extends HeyvmError {
  /** In words, what that leaves behind, where it is known. */
  readonly outcome: string | undefined;

  constructor(
    what: string,
    cause?: unknown,
    { outcome, ...context }: Omit<ErrorContext, "cause"> & { outcome?: string } = {},
  ) {
    super("aborted", `${what} was cancelled${outcome === undefined ? "" : `: ${outcome}`}`, {
      ...context,
      cause,
    });
    this.outcome = outcome;
  }
}

/** A value given by the caller cannot be accepted; `field` is its name as the caller wrote it. */
export class InvalidArgumentError extends HeyvmError {
  constructor(field: string, message: string, context: ErrorContext = {}) {
    super("invalid_argument", message, { ...context, details: { field, ...context.details } });
  }
}

/** What frees the host's disk. */
export const makeRoomHint =
  "make room there: heyvm rm SANDBOX, heyvm prune --everything, heyvm images prune, or files of your own";

/** The file system has no room left for `what`. */
export class DiskFullError extends HeyvmError {
  constructor(what: string, path: string, cause?: unknown) {
    super("disk_full", `no space left on the disk of ${path} while ${what}`, {
      cause,
      hint: makeRoomHint,
      details: { path },
    });
  }
}

/** Turns anything that was thrown into a HeyvmError; what nobody foresaw becomes `internal`. */
export function toHeyvmError(thrown: unknown): HeyvmError {
  if (thrown instanceof HeyvmError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new HeyvmError("internal", message, { cause: thrown });
}
