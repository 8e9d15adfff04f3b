/** Why a server's file could not be had. */
import { formatSize } from "../../config/size.ts";
import { HeyvmError } from "../../errors/index.ts";

/** What a failed download is told to the user with. */
export interface DownloadSubject {
  /** Without credentials or query. */
  url: string;
  /** One thing to do when the server is to blame. */
  hint: string;
}

/** A download did not come to its end; `temporary` when the same request may succeed in a moment. */
export class DownloadFailedError extends HeyvmError {
  readonly temporary: boolean;

  constructor(
    subject: DownloadSubject,
    reason: string,
    context: { temporary: boolean; details?: Record<string, unknown>; cause?: unknown },
  ) {
    super("download_failed", `download of ${subject.url} failed: ${reason}`, {
      hint: subject.hint,
      details: { url: subject.url, ...context.details },
      cause: context.cause,
    });
    this.temporary = context.temporary;
  }
}

/** The server answered with a status that is no success. */
export class HttpStatusError extends DownloadFailedError {
  readonly status: number;
  /** How long the server asks to be left alone. */
  readonly retryAfterMs: number | undefined;

  constructor(subject: DownloadSubject, status: number, retryAfterMs?: number) {
    super(subject, `the server answered ${status}${statusMeaning(status)}`, {
      temporary: status >= 500 || status === 408 || status === 425 || status === 429,
      details: { status },
    });
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The server cannot be reached, or the connection broke. */
export class ConnectionFailedError extends DownloadFailedError {
  constructor(subject: DownloadSubject, cause: unknown, reason: string) {
    super(subject, reason, { temporary: true, cause });
  }
}

/** Nothing came for too long. */
export class ServerSilentError extends DownloadFailedError {
  constructor(subject: DownloadSubject, reason: string, cause: unknown) {
    super(subject, reason, { temporary: true, cause });
  }
}

/** Something came, but not a file that can be an image or a list of checksums. */
export class UnexpectedAnswerError extends DownloadFailedError {
  constructor(subject: DownloadSubject, reason: string, details: Record<string, unknown> = {}) {
    super(subject, reason, { temporary: false, details });
  }
}

/** The connection ended before the announced number of bytes. */
export class TruncatedAnswerError extends DownloadFailedError {
  constructor(subject: DownloadSubject, doneBytes: number, totalBytes: number) {
    super(subject, `it ended after ${doneBytes} of ${totalBytes} bytes`, {
      temporary: true,
      details: { done_bytes: doneBytes, total_bytes: totalBytes },
    });
  }
}

/** The server went on sending after the announced number of bytes, or after more than any image has. */
export class OversizedAnswerError extends DownloadFailedError {
  constructor(subject: DownloadSubject, announced: boolean, limitBytes: number) {
    const reason = announced
      ? `it sent more than the ${limitBytes} bytes that it announced`
      : `it announced no size, and did not end within ${formatSize(limitBytes)}`;
    super(subject, reason, { temporary: false, details: { limit_bytes: limitBytes } });
  }
}

function statusMeaning(status: number): string {
  if (status === 401 || status === 403) return " (access denied)";
  if (status === 404 || status === 410) return " (no such file)";
  if (status === 429) return " (too many requests)";
  return status >= 500 ? " (server trouble)" : "";
}
