import type { ErrorEvent, LogEntry } from "../api/schema.ts";
import { answeredError } from "./daemon-lost.ts";
import { type Endpoint, sandboxPath } from "./endpoint.ts";
import { brokenOff, openWebSocket } from "./web-socket.ts";
import { parseMessage } from "./wire.ts";

/** Lines that may wait for a slow reader before the socket is paused. */
const highWaterLines = 1024;
/** RFC 6455, 7.4.1: there are no more lines, because the sandbox is gone. */
const normalClosure = 1000;

/**
 * Log lines as they come, after the newest `backlog` ones. Ends when the sandbox is gone or the signal ends; throws
 * `DaemonLostError` when the daemon ends or leaves.
 */
export async function* followLogs(
  endpoint: Endpoint,
  sandbox: string,
  options: { backlog?: number; signal?: AbortSignal } = {},
): AsyncGenerator<LogEntry> {
  const { backlog, signal } = options;
  const query = backlog === undefined ? "" : `?backlog=${backlog}`;
  const path = `${sandboxPath(sandbox)}/logs/stream`;
  const socket = await openWebSocket(endpoint, path + query, { signal });
  const waiting: LogEntry[] = [];
  let failure: Error | undefined;
  let over = false;
  let wake: (() => void) | undefined;
  const onAbort = (): void => socket.terminate();
  signal?.addEventListener("abort", onAbort, { once: true });
  socket.on("message", (data: Buffer) => {
    const message = parseMessage<LogEntry | ErrorEvent>(data.toString("utf8"));
    if ("type" in message) {
      failure = answeredError(endpoint, `WS ${path}`, message);
    } else {
      waiting.push(message);
      if (waiting.length >= highWaterLines) socket.pause();
    }
    wake?.();
  });
  socket.on("error", () => undefined);
  socket.on("close", (code, reason) => {
    const regular = code === normalClosure || signal?.aborted === true;
    failure ??= regular ? undefined : brokenOff(endpoint, path, code, reason.toString());
    over = true;
    wake?.();
  });
  socket.resume();
  try {
    for (;;) {
      while (waiting.length > 0) {
        yield* waiting.splice(0);
        socket.resume();
      }
      if (failure !== undefined) throw failure;
      if (over) return;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    socket.close();
  }
}
