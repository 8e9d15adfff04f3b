/** Errors as RFC 9457 problem documents. */
import { errorCodes, toHeyvmError } from "../errors/index.ts";
import type { ErrorEvent, Problem } from "./schema.ts";

/** The document of whatever was thrown, with its HTTP status in it. */
export function toProblem(thrown: unknown, requestId: string): Problem {
  const error = toHeyvmError(thrown);
  const { status, retryable } = errorCodes[error.code];
  return {
    type: "about:blank",
    title: titleOf(error.code),
    status,
    detail: error.message,
    error: error.message,
    code: error.code,
    retryable,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(error.details === undefined ? {} : { details: error.details }),
    request_id: requestId,
  };
}

/** The same as the last message of a stream. */
export function toErrorEvent(thrown: unknown, requestId: string): ErrorEvent {
  return { ...toProblem(thrown, requestId), type: "error" };
}

/** `sandbox_not_found` → `Sandbox not found`. */
function titleOf(code: string): string {
  const words = code.replaceAll("_", " ");
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}`;
}
