/** What a sandbox has said: its machine's console, and its start command's outputs. */
import type { AgentSession, RunningCommand } from "../agent/types.ts";
import type { SandboxContext } from "./context.ts";
import { backendOf } from "./machine.ts";
import { type LiveSandbox, statusOf } from "./registry.ts";

/** Outputs of a start command, in the guest. */
export const startLogPaths = {
  stdout: "/var/log/heyvm-start.log",
  stderr: "/var/log/heyvm-start.err.log",
} as const;

export type LogSource = "stdout" | "stderr" | "console";

export interface LogLine {
  /** When the line was written, where that is known, else when it was read. */
  atMs: number;
  source: LogSource;
  message: string;
}

const newline = 0x0a;
/** What is shown of a line: nobody reads on, and a guest can write one for ever. */
const lineCharacters = 16_384;
const consoleBytes = 1_048_576;
/** The newest part of a start command's output that is looked at. */
const fileBytes = 1_048_576;

/** The newest `limit` lines of each source, console first. A guest that cannot be asked leaves its outputs out. */
export async function readLogs(
  context: SandboxContext,
  sandbox: LiveSandbox,
  limit: number,
  signal: AbortSignal,
): Promise<{ lines: LogLine[]; total: number }> {
  const console = await consoleLines(context, sandbox, signal);
  const outputs = statusOf(sandbox) === "running" ? await startOutputs(sandbox, signal) : [];
  const all = [console, ...outputs];
  return {
    lines: all.flatMap((lines) => (limit === 0 ? [] : lines.slice(-limit))),
    total: all.reduce((sum, lines) => sum + lines.length, 0),
  };
}

/** The start command's outputs as they grow, from `backlog` lines before their ends; ends with the signal. */
export async function followStartCommand(
  sandbox: LiveSandbox,
  source: "stdout" | "stderr",
  backlog: number,
  signal: AbortSignal,
): Promise<RunningCommand> {
  const agent = await sandbox.session.get(signal);
  const path = startLogPaths[source];
  const command = await agent.exec({ argv: ["tail", "-n", String(backlog), "-F", path] }, { signal });
  command.stdin.end();
  return command;
}

/** The console's newest output, split in lines without terminal control codes; `finished`: without a line that goes on. */
export async function consoleLines(
  context: SandboxContext,
  sandbox: LiveSandbox,
  signal: AbortSignal,
  { finished = false }: { finished?: boolean } = {},
): Promise<LogLine[]> {
  const backend = await backendOf(context, sandbox);
  const output = await backend.readConsole(sandbox.record.id, consoleBytes, signal);
  const end = finished ? output.lastIndexOf(newline) + 1 : output.length;
  return linesOf(output.subarray(0, end), "console", Date.now());
}

/** Whole and last, perhaps unfinished, lines of an output, safe to show on a terminal. */
export function linesOf(output: Buffer, source: LogSource, atMs: number): LogLine[] {
  const text = output.toString("utf8");
  const lines = text.split("\n").map(plainText);
  if (lines.at(-1) === "") lines.pop();
  return lines.map((message) => ({ atMs, source, message }));
}

async function startOutputs(sandbox: LiveSandbox, signal: AbortSignal): Promise<LogLine[][]> {
  try {
    const agent = await sandbox.session.get(signal);
    return await Promise.all([
      fileLines(agent, startLogPaths.stdout, "stdout", signal),
      fileLines(agent, startLogPaths.stderr, "stderr", signal),
    ]);
  } catch {
    signal.throwIfAborted();
    return [];
  }
}

async function fileLines(
  agent: AgentSession,
  path: string,
  source: LogSource,
  signal: AbortSignal,
): Promise<LogLine[]> {
  const status = await agent.files.stat(path, { signal }).catch(() => undefined);
  // No start command, no file.
  if (status === undefined) return [];
  const offset = Math.max(0, status.sizeBytes - fileBytes);
  const content = await agent.files.read(path, { offset, length: fileBytes, signal });
  const chunks: Buffer[] = [];
  for await (const chunk of content) chunks.push(Buffer.from(chunk));
  return linesOf(Buffer.concat(chunks), source, status.modifiedMs);
}

// oxlint-disable-next-line no-control-regex -- control characters are what this removes
const escapeSequence = /\u001B(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001B]*(?:\u0007|\u001B\\)?|.)/g;

/** Without escape sequences, and with what a carriage return left standing. Looks at each character a few times at most. */
function plainText(line: string): string {
  const visible = line.slice(0, lineCharacters).replace(/\r+$/, "");
  const withoutCodes = visible.replaceAll(escapeSequence, "");
  return withoutCodes.slice(withoutCodes.lastIndexOf("\r") + 1).replaceAll(/[^\P{Cc}\t]/gu, "");
}
