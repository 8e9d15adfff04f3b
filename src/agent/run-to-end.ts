import type { Readable } from "node:stream";

import { CallTimeoutError } from "./errors.ts";
import type { AgentSession, CommandExit, ExecRequest } from "./types.ts";

/**
 * The agent keeps the command's time, and takes seconds to end what it started. An agent that does not do so, or whose guest
 * somebody has paused, is waited for a little longer.
 */
const slackMs = 30_000;
const usuallyKeptBytes = 65_536;

export interface EndedCommand extends CommandExit {
  /** The end of its stdout, then that of its stderr. */
  output: string;
}

/**
 * Runs a program without input in the guest, and waits for its end, which the agent brings about after `timeoutMs`
 * (`timedOut`). With the signal the program is killed, and `AbortedError` thrown; `CallTimeoutError` when the agent tells of
 * no end at all. `keptBytes` of each output are kept, the last ones: they say what went wrong.
 */
export async function runToEnd(
  agent: Pick<AgentSession, "exec">,
  request: Pick<ExecRequest, "argv" | "cwd" | "env"> & { timeoutMs: number },
  { signal, keptBytes = usuallyKeptBytes }: { signal: AbortSignal; keptBytes?: number },
): Promise<EndedCommand> {
  const late = new AbortController();
  const either = AbortSignal.any([signal, late.signal]);
  const command = await agent.exec({ ...request, stdin: false }, { signal: either });
  const { timeoutMs } = request;
  const timer = setTimeout(
    () => late.abort(new CallTimeoutError(`running ${request.argv[0]} in the guest`, timeoutMs)),
    timeoutMs + slackMs,
  );
  try {
    const [exit, stdout, stderr] = await Promise.all([
      command.exit,
      endOf(command.stdout, keptBytes),
      endOf(command.stderr, keptBytes),
    ]);
    return { ...exit, output: stdout + stderr };
  } catch (error) {
    throw late.signal.aborted ? late.signal.reason : error;
  } finally {
    clearTimeout(timer);
  }
}

async function endOf(stream: Readable, keptBytes: number): Promise<string> {
  let chunks: Buffer[] = [];
  let length = 0;
  const join = (): Buffer => Buffer.concat(chunks).subarray(-keptBytes);
  for await (const chunk of stream) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk);
    chunks.push(bytes);
    length += bytes.length;
    // A guest may send its output byte by byte.
    if (length < 2 * keptBytes && chunks.length < 64) continue;
    const end = join();
    chunks = [end];
    length = end.length;
  }
  return join().toString("utf8");
}
