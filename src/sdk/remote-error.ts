/** Problem documents of the API become errors with the same code, message, hint and details. */
import type { Problem } from "../api/schema.ts";
import { AbortedError, type ErrorCode, errorCodes, HeyvmError } from "../errors/index.ts";

export type ProblemBody = Omit<Problem, "type">;

/** Something that the daemon refused or could not do. `code` says which cause it was; the subclasses are families. */
export class RemoteError extends HeyvmError {
  /** Finds the request in the daemon's log. */
  readonly requestId: string;

  constructor(problem: ProblemBody) {
    super(toErrorCode(problem.code), problem.error, { hint: problem.hint, details: problem.details });
    this.requestId = problem.request_id;
  }
}

/** There is no such sandbox, image or path. */
export class NotFoundError extends RemoteError {}

/** It collides with what exists: a name in use, a sandbox in the wrong state, an ambiguous reference. */
export class ConflictError extends RemoteError {}

/** The request itself cannot be: `details.field` names the part. */
export class InvalidRequestError extends RemoteError {}

/** The backend is not there, or failed. */
export class BackendError extends RemoteError {}

/** The guest, or heyvm, took longer than allowed. */
export class TimeoutError extends RemoteError {}

const families: Readonly<Partial<Record<number, new (problem: ProblemBody) => RemoteError>>> = {
  2: InvalidRequestError,
  3: NotFoundError,
  4: ConflictError,
  5: BackendError,
  124: TimeoutError,
};

/** The typed error of a problem document. */
export function remoteError(problem: ProblemBody): HeyvmError {
  if (problem.code === "aborted") return new AbortedError("the request", new RemoteError(problem));
  const Family = families[errorCodes[toErrorCode(problem.code)].exit] ?? RemoteError;
  return new Family(problem);
}

/** What a failed answer says, also when it is no problem document (a proxy, another program on that port). */
export function problemFromAnswer(status: number, body: string): ProblemBody {
  const parsed = parseObject(body);
  const text = (key: string): string | undefined =>
    typeof parsed?.[key] === "string" ? parsed[key] : undefined;
  const message = text("error") ?? text("detail");
  return {
    title: text("title") ?? "Request failed",
    status,
    detail: message ?? "",
    error: message ?? `the daemon answered ${status} without a reason: ${body.slice(0, 200)}`,
    code: text("code") ?? (status === 401 ? "unauthorized" : "internal"),
    retryable: parsed?.["retryable"] === true,
    ...(text("hint") === undefined ? {} : { hint: text("hint") }),
    ...(isObject(parsed?.["details"]) ? { details: parsed["details"] } : {}),
    request_id: text("request_id") ?? "",
  };
}

function toErrorCode(code: string): ErrorCode {
  // A newer daemon may know causes that this client doesn't.
  return isErrorCode(code) ? code : "internal";
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code);
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
