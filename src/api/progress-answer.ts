/** Answers of long work: at its end as JSON, or line by line as it goes on. */
import { toHeyvmError } from "../errors/index.ts";
import type { Progress } from "../sandbox/index.ts";
import type { ApiContext } from "./api-env.ts";
import { toErrorEvent } from "./problem.ts";

export interface ProgressAnswer<T extends object> {
  /** `type` of the last line. */
  type: "sandbox" | "image" | "template";
  /** The status of the JSON answer. */
  status: 200 | 201;
  work: (progress: Progress) => Promise<T>;
  /** Told of a failure that has gone into the stream, where no status tells of it. */
  onFailure: (thrown: unknown) => void;
}

const ndjson = "application/x-ndjson";

/** The work's signal aborts when the client goes away. */
export async function answerWithProgress<T extends object>(
  c: ApiContext,
  { type, status, work, onFailure }: ProgressAnswer<T>,
): Promise<Response> {
  const signal = c.get("signal");
  if (!c.req.header("accept")?.includes(ndjson)) {
    const result = await work({ signal, onStep: () => {}, onWarning: () => {} });
    return c.json(result, status);
  }
  const startedMs = performance.now();
  const encoder = new TextEncoder();
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      // Lines are few and small; a client that is gone gets none.
      const send = (line: object): void => {
        if (!signal.aborted) controller.enqueue(encoder.encode(`${JSON.stringify(line)}\n`));
      };
      const progress: Progress = {
        signal,
        onStep: ({ doneBytes, totalBytes, logPath, id, title, state }) =>
          send({
            type: "step",
            id,
            title,
            state,
            done_bytes: doneBytes,
            total_bytes: totalBytes,
            log_path: logPath,
            elapsed_ms: Math.round(performance.now() - startedMs),
          }),
        onWarning: (message) => send({ type: "warning", message }),
        onAccepted: (id) => send({ type: "accepted", id }),
      };
      try {
        send({ ...(await work(progress)), type });
      } catch (error) {
        onFailure(toHeyvmError(error));
        send(toErrorEvent(error, c.get("requestId")));
      }
      if (!signal.aborted) controller.close();
    },
  });
  return c.body(stream, 200, { "content-type": ndjson, "cache-control": "no-store" });
}
