import { z } from "@hono/zod-openapi";

import { problemSchema } from "./progress.ts";

const terminalSideSchema = z.int().min(1).max(10_000);
const environmentSchema = z.record(z.string(), z.string());
/** A day: longer than any command should need, short enough to be a bound. */
const longestTimeoutSeconds = 86_400;
/**
 * The answer is one document in memory that has each output twice, and a control character of it in six characters: with
 * more it would not fit into a string of V8. Whoever wants more streams it.
 */
export const longestOutputBytes = 16 * 1_048_576;

/**
 * `POST /sandboxes/:id/execute`: runs to its end and answers with what it printed. Without `args`, `command` is a
 * shell command line; with `args` (also empty) it is a program and is not seen by any shell.
 */
export const executeRequestSchema = z
  .strictObject({
    command: z.string().min(1).max(131_072),
    args: z.array(z.string().max(131_072)).max(4096).optional(),
    cwd: z.string().min(1).optional(),
    env: environmentSchema.optional(),
    user: z.string().min(1).optional(),
    /** Seconds. */
    timeout: z.number().positive().max(longestTimeoutSeconds).optional(),
    /** Given to the command's stdin, which is then closed. */
    stdin: z.string().optional(),
    /** Bytes kept of each output; the rest is read and dropped, and told by `stdout_truncated`. */
    output_limit: z.int().min(0).max(longestOutputBytes).optional(),
  })
  .openapi("ExecuteRequest");

export const executeAnswerSchema = z
  .object({
    /** Both outputs in the order in which they came. */
    output: z.string(),
    stdout: z.string(),
    stderr: z.string(),
    /** 128 + n when signal n ended it, 124 when its timeout did. */
    exit_code: z.number(),
    signal: z.string().nullable(),
    timed_out: z.boolean(),
    stdout_truncated: z.boolean(),
    stderr_truncated: z.boolean(),
    /** Bytes that the command printed, also those that were dropped. */
    stdout_bytes: z.number(),
    stderr_bytes: z.number(),
    duration_ms: z.number(),
  })
  .openapi("ExecuteAnswer");

/** First text frame of `WS /sandboxes/:id/exec`. Without `args`, `command` is a shell command line. */
export const execInitSchema = z
  .strictObject({
    type: z.literal("init"),
    command: z.string().min(1).max(131_072),
    args: z.array(z.string().max(131_072)).max(4096).optional(),
    cwd: z.string().min(1).optional(),
    env: environmentSchema.optional(),
    user: z.string().min(1).optional(),
    timeout_ms: z
      .number()
      .positive()
      .max(longestTimeoutSeconds * 1000)
      .optional(),
    /** False (the default): the command's stdin is closed from the start. */
    stdin: z.boolean().optional(),
    /** Present: the command gets a terminal; all output is on channel 1. */
    terminal: z.strictObject({ cols: terminalSideSchema, rows: terminalSideSchema }).optional(),
  })
  .openapi("ExecInit");

export const execSignalSchema = z.strictObject({
  type: z.literal("signal"),
  signal: z.string().regex(/^SIG[A-Z0-9]{2,10}$/),
});
export const resizeSchema = z.strictObject({
  type: z.literal("resize"),
  cols: terminalSideSchema,
  rows: terminalSideSchema,
});

/** Text frames that a client may send after `init`. */
export const execClientMessageSchema = z.discriminatedUnion("type", [execSignalSchema, resizeSchema]);

export const execStartedSchema = z.object({ type: z.literal("started"), pid: z.number() });
export const execExitSchema = z.object({
  type: z.literal("exit"),
  code: z.number().nullable(),
  signal: z.string().nullable(),
  timed_out: z.boolean(),
});
export const streamErrorSchema = problemSchema.extend({ type: z.literal("error") });
/** Text frames that the server sends; `exit` or `error` is the last. */
export const execServerMessageSchema = z.discriminatedUnion("type", [
  execStartedSchema,
  execExitSchema,
  streamErrorSchema,
]);

/** First byte of each binary frame of `WS /sandboxes/:id/exec`. An empty stdin frame is the end of input. */
export const execChannel = { stdin: 0, stdout: 1, stderr: 2 } as const;

/** First text frame of `WS /sandboxes/:id/shell-stream`. */
export const shellInitSchema = z
  .strictObject({
    type: z.literal("init"),
    cols: terminalSideSchema,
    rows: terminalSideSchema,
    env: environmentSchema.optional(),
    cwd: z.string().min(1).optional(),
    user: z.string().min(1).optional(),
    /**
     * Of a shell whose connection broke less than a minute ago: goes on with it, and takes it from a connection that has
     * not broken. `cwd`, `env` and `user` are as they were.
     */
    sessionId: z.string().max(128).optional(),
  })
  .openapi("ShellInit");

/** Text frames that a client of a shell may send after `init`. */
export const shellClientMessageSchema = z.discriminatedUnion("type", [
  resizeSchema,
  /**
   * Output up to this sequence number has come, and need not be kept for a client that comes back. Whoever has sent one goes
   * on with it, at least every 512 KiB of frames, with their headers: at 1 MiB without, the shell waits. Of a client that
   * sends none, less is kept.
   */
  z.strictObject({ type: z.literal("ack"), seq: z.number() }),
  /** Hangs the shell up. */
  z.strictObject({ type: z.literal("close") }),
]);

export const shellServerMessageSchema = z.discriminatedUnion("type", [
  /**
   * What comes next has the sequence number after `lastSeq`. A client that comes back gets again what it has not
   * acknowledged, at most the last MiB.
   */
  z.object({ type: z.literal("ready"), sessionId: z.string(), lastSeq: z.number().optional() }),
  z.object({ type: z.literal("exit"), code: z.number() }),
  streamErrorSchema,
]);

/** First byte of a shell's binary frames: input is `0x01` + bytes, output `0x02` + u64 big-endian sequence + bytes. */
export const shellFrame = { input: 1, output: 2 } as const;

export type ExecuteRequest = z.infer<typeof executeRequestSchema>;
export type ExecuteAnswer = z.infer<typeof executeAnswerSchema>;
export type ExecInit = z.infer<typeof execInitSchema>;
export type ExecClientMessage = z.infer<typeof execClientMessageSchema>;
export type ExecServerMessage = z.infer<typeof execServerMessageSchema>;
export type ShellInit = z.infer<typeof shellInitSchema>;
export type ShellClientMessage = z.infer<typeof shellClientMessageSchema>;
export type ShellServerMessage = z.infer<typeof shellServerMessageSchema>;
