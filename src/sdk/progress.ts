/** Answers that come as lines of JSON while the daemon works: steps, warnings, then the result or an error. */
import type { Readable } from "node:stream";

import type { AcceptedEvent, ErrorEvent, StepEvent, WarningEvent } from "../api/schema.ts";
import { DaemonUnavailableError } from "./client-errors.ts";
import { answeredError, daemonLost } from "./daemon-lost.ts";
import type { CallOptions } from "../core/deadline.ts";
import type { Step as WorkStep } from "../core/step.ts";
import type { Transport } from "./transport.ts";
import { parseMessage } from "./wire.ts";

/** A long step of the work, for people to watch. */
export interface Step extends Required<WorkStep> {
  /** Since the whole work began. */
  elapsedMs: number;
}

export interface ProgressOptions extends CallOptions {
  onStep?: ((step: Step) => void) | undefined;
  onWarning?: ((message: string) => void) | undefined;
}

/** An hour: a download and the making of a prepared disk under emulation included. */
const defaultTimeoutMs = 3_600_000;
/** A line is a step or a sandbox; anything longer is not from a daemon of ours. */
const maxLineLength = 1_048_576;

/**
 * Sends the request and follows its lines until the last one, the result. Ending the signal makes
 * the daemon abort and undo the work. `onAccepted` hears the id of what is being made.
 */
export async function requestWithProgress<Result extends { type: string }>(
  transport: Transport,
  path: string,
  body: object,
  options: ProgressOptions = {},
  onAccepted: (id: string) => void = () => undefined,
): Promise<Omit<Result, "type">> {
  const answer = await transport.stream("POST", path, {
    body,
    accept: "application/x-ndjson",
    signal: options.signal,
    timeoutMs: options.timeoutMs ?? defaultTimeoutMs,
  });
  for await (const line of readLines(answer)) {
    const event = parseMessage<StepEvent | WarningEvent | ErrorEvent | AcceptedEvent | { type: "result" }>(
      line,
    );
    if (event.type === "step") options.onStep?.(toStep(event));
    else if (event.type === "warning") options.onWarning?.(event.message);
    else if (event.type === "accepted") onAccepted(event.id);
    else if (event.type === "error") throw answeredError(transport.endpoint, `POST ${path}`, event);
    else {
      const { type: _type, ...result } = parseMessage<Result>(line);
      return result;
    }
  }
  throw daemonLost(transport.endpoint, `POST ${path}`);
}

async function* readLines(answer: Readable): AsyncGenerator<string> {
  let rest = "";
  answer.setEncoding("utf8");
  // Strings, since the encoding was set.
  for await (const chunk of answer as AsyncIterable<string>) {
    rest += chunk;
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > maxLineLength)
      throw new DaemonUnavailableError("the daemon sent a line without an end");
    yield* lines.filter((line) => line.trim() !== "");
  }
  if (rest.trim() !== "") yield rest;
}

function toStep(event: StepEvent): Step {
  return {
    id: event.id,
    title: event.title,
    state: event.state,
    doneBytes: event.done_bytes,
    totalBytes: event.total_bytes,
    logPath: event.log_path,
    elapsedMs: event.elapsed_ms,
  };
}
