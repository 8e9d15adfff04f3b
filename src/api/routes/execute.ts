/** Commands that run to their end, and what a sandbox has logged. */
import { constants } from "node:os";

import { z } from "@hono/zod-openapi";

import type { CommandExit, RunningCommand } from "../../agent/types.ts";
import { collectOutput, execInSandbox, findSandbox, readLogs } from "../../sandbox/index.ts";
import type { Api } from "../api-env.ts";
import { addEndpoint } from "../endpoint.ts";
import { endCommand } from "../end-command.ts";
import {
  type ExecuteAnswer,
  executeAnswerSchema,
  executeRequestSchema,
  type Logs,
  logsSchema,
  longestOutputBytes,
} from "../schema.ts";
import type { ApiServices } from "../services.ts";
import { readBody, readQuery } from "../validate.ts";
import { toLogEntry } from "../wire.ts";
import { sandboxParams, wholeNumber } from "./parameters.ts";

const timedOutCode = 124;
const logsQuery = z.strictObject({ limit: wholeNumber(0, 100_000).optional() });

export function addExecuteRoutes(api: Api, { context }: ApiServices): void {
  addEndpoint(
    api,
    {
      method: "post",
      path: "/sandboxes/{id}/execute",
      tag: "commands",
      summary: "Run a command to its end",
      params: sandboxParams,
      body: executeRequestSchema,
      answer: executeAnswerSchema,
    },
    async (c) => {
      const body = await readBody(c, executeRequestSchema);
      const sandbox = await findSandbox(context, c.req.param("id") ?? "");
      const signal = c.get("signal");
      const startedMs = performance.now();
      const timeoutMs = body.timeout === undefined ? undefined : body.timeout * 1000;
      const command = await execInSandbox(sandbox, { ...body, timeoutMs }, signal);
      const onAbort = (): void => void endCommand(command);
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        const limit = body.output_limit ?? longestOutputBytes;
        const result = await collect(command, body.stdin, limit);
        const answer: ExecuteAnswer = { ...result, duration_ms: Math.round(performance.now() - startedMs) };
        return c.json(answer);
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
    },
  );

  addEndpoint(
    api,
    {
      method: "get",
      path: "/sandboxes/{id}/logs",
      tag: "logs",
      summary: "The newest lines of the console and of the start command's outputs",
      params: sandboxParams,
      query: logsQuery,
      answer: logsSchema,
    },
    async (c) => {
      const { limit = 1000 } = readQuery(c, logsQuery);
      const sandbox = await findSandbox(context, c.req.param("id") ?? "");
      const { lines, total } = await readLogs(context, sandbox, limit, c.get("signal"));
      const logs: Logs = { logs: lines.map(toLogEntry), total };
      return c.json(logs);
    },
  );
}

async function collect(
  command: RunningCommand,
  stdin: string | undefined,
  limitBytes: number,
): Promise<Omit<ExecuteAnswer, "duration_ms">> {
  // A command that ends without reading all of its input is no failure.
  command.stdin.on("error", () => {});
  command.stdin.end(stdin ?? "");
  const merged: Buffer[] = [];
  const merge = (chunk: Buffer): void => void merged.push(chunk);
  const [stdout, stderr, exit] = await Promise.all([
    collectOutput(command.stdout, limitBytes, merge),
    collectOutput(command.stderr, limitBytes, merge),
    command.exit,
  ]);
  return {
    output: Buffer.concat(merged).toString("utf8"),
    stdout: stdout.bytes.toString("utf8"),
    stderr: stderr.bytes.toString("utf8"),
    exit_code: exitCodeOf(exit),
    signal: exit.signal ?? null,
    timed_out: exit.timedOut,
    stdout_truncated: stdout.truncated,
    stderr_truncated: stderr.truncated,
    stdout_bytes: stdout.totalBytes,
    stderr_bytes: stderr.totalBytes,
  };
}

/** As a shell tells it: 128 + n for signal n, 124 for a timeout. */
function exitCodeOf({ code, signal, timedOut }: CommandExit): number {
  if (timedOut) return timedOutCode;
  if (code !== undefined) return code;
  return 128 + (signal === undefined ? 0 : constants.signals[signal]);
}
