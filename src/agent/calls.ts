import { AbortedError } from "../errors/index.ts";
import { CallTimeoutError } from "./errors.ts";
import type { GuestObject } from "./guest-json.ts";
import type { GuestStream, StreamShape } from "./guest-stream.ts";
import type { Mux } from "./mux.ts";
import { type CallOptions, withDeadline } from "../core/deadline.ts";

export const defaultCallMs = 30_000;

/** One operation of the agent's: its name and parameters on the wire, and what to call it in an error. */
export interface Call {
  operation: string;
  params: Record<string, unknown>;
  /** For messages: `reading /etc/hosts in the guest`. */
  what: string;
}

/** Makes a call without data and waits for its result. */
export async function callAgent(
  mux: Mux,
  call: Call,
  options: CallOptions = {},
  defaultMs = defaultCallMs,
): Promise<GuestObject> {
  return withDeadline(call.what, options, { defaultMs, TimeoutError: CallTimeoutError }, async (signal) => {
    const stream = await startStream(mux, call, {}, signal);
    return stream.result;
  });
}

/** Starts an operation with data and waits until the agent says it is open. The deadline is for that alone. */
export async function openStream(
  mux: Mux,
  call: Call,
  shape: StreamShape,
  options: CallOptions = {},
  defaultMs = defaultCallMs,
): Promise<{ stream: GuestStream; opened: GuestObject }> {
  const opening = await withDeadline(
    call.what,
    options,
    { defaultMs, TimeoutError: CallTimeoutError },
    async (signal) => {
      const stream = await startStream(mux, call, shape, signal);
      return { stream, opened: await stream.opened };
    },
  );
  closeWithSignal(opening.stream, call.what, options.signal);
  return opening;
}

/** Opens the stream, and closes it again when nobody waits for it any more. */
async function startStream(
  mux: Mux,
  call: Call,
  shape: StreamShape,
  signal: AbortSignal,
): Promise<GuestStream> {
  const stream = await mux.open(call.operation, call.params, shape);
  const close = () => stream.close(signal.reason instanceof Error ? signal.reason : undefined);
  if (signal.aborted) close();
  signal.addEventListener("abort", close, { once: true });
  return stream;
}

/** After the start, the caller's own signal still ends the operation. */
function closeWithSignal(stream: GuestStream, what: string, signal: AbortSignal | undefined): void {
  if (signal === undefined) return;
  const close = () => stream.close(new AbortedError(what, signal.reason));
  const forget = () => signal.removeEventListener("abort", close);
  if (signal.aborted) close();
  else signal.addEventListener("abort", close, { once: true });
  stream.result.then(forget, forget);
}
