import type { ErrorEvent, LogEntry } from "../api/schema.ts";
import type { Endpoint } from "./endpoint.ts";
import { brokenOff, openWebSocket } from "./web-socket.ts";
import { remoteError } from "./remote-error.ts";
import { parseMessage } from "./wire.ts";

/** Lines that may wait for a slow reader before the socket is paused. */
const highWaterLines = 1024;

/** Log lines as they come, after the newest `backlog` ones. Ends when the daemon closes the stream or the signal ends. */
export async function* followLogs(
  endpoint: Endpoint,
  sandboxId: string,
  options: { backlog?: number; signal?: AbortSignal } = {},
): AsyncGenerator<LogEntry> {
  const { backlog, signal } = options;
  const query = backlog === undefined ? "" : `?backlog=${backlog}`;
  const socket = await openWebSocket(endpoint, `/sandboxes/${sandboxId}/logs/stream${query}`, { signal });
  const waiting: LogEntry[] = [];
  let failure: Error | undefined;
  let over = false;
  let wake: (() => void) | undefined;
  const onAbort = (): void => socket.terminate();
  signal?.addEventListener("abort", onAbort, { once: true });
  socket.on("message", (data: Buffer) => {
    const message = parseMessage<LogEntry | ErrorEvent>(data.toString("utf8"));
    if ("type" in message) {
      failure = remoteError(message);
    } else {
      waiting.push(message);
      if (waiting.length >= highWaterLines) socket.pause();
    }
    wake?.();
  });
  socket.on("error", () => undefined);
  socket.on("close", (code, reason) => {
    const regular = code === 1000 || code === 1001 || signal?.aborted === true;
    failure ??= regular
      ? undefined
      : brokenOff(endpoint, `/sandboxes/${sandboxId}/logs/stream`, code, reason.toString());
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
