/**
 * What nobody foresaw: an exception that nobody catches, a rejection that nobody handles. What the daemon has in memory
 * may be wrong from then on; its records and its machines are not. So it begins anew, in order, from what is on disk.
 */
import { HeyvmError, messageOf } from "../errors/index.ts";
import type { Log } from "../sandbox/index.ts";

export interface Failure {
  error: unknown;
  atMs: number;
}

export interface UnforeseenWatch extends Disposable {
  /** Aborted by the first of them. */
  readonly signal: AbortSignal;
  /** The first of them. */
  readonly failure: Failure | undefined;
}

/** A daemon that fails again within this time does so each time: it ends. */
export const calmMs = 60_000;
/** For leaving in order; afterwards the process ends as it is. */
const leaveMs = 60_000;

/** A daemon that failed, began anew, and failed. */
export class DaemonFailedError extends HeyvmError {
  constructor({ error }: Failure, logPath: string) {
    super("internal", `the daemon failed, began anew, and failed again: ${messageOf(error)}`, {
      cause: error,
      hint: `sandboxes go on, and the next command starts a new daemon; what happened is in ${logPath}`,
    });
  }
}

/** For whoever looks at a sandbox, or at the daemon. */
export function noticeOf({ error, atMs }: Failure): string {
  const at = new Date(atMs).toISOString();
  return `the daemon began anew at ${at}, after an error that is a bug in heyvm: ${messageOf(error)}`;
}

/** Hears of what nobody caught, until it is disposed of. */
export function watchUnforeseen(log: Log): UnforeseenWatch {
  const first = new AbortController();
  let failure: Failure | undefined;
  let deadline: NodeJS.Timeout | undefined;
  const onFailure = (error: unknown): void => {
    // What falls over while the daemon leaves is only told.
    log.error({ err: error, again: failure !== undefined }, "something failed that nobody foresaw");
    if (failure !== undefined) return;
    failure = { error, atMs: Date.now() };
    deadline = setTimeout(() => {
      log.error({}, "the daemon could not leave in order");
      process.exit(1);
    }, leaveMs);
    first.abort();
  };
  // Rejections that nobody handles come here, too.
  process.on("uncaughtException", onFailure);
  return {
    signal: first.signal,
    get failure() {
      return failure;
    },
    [Symbol.dispose]() {
      clearTimeout(deadline);
      process.off("uncaughtException", onFailure);
    },
  };
}
