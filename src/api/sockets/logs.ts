/** `WS /sandboxes/:id/logs/stream`: log lines as they come. */
import type { WebSocket } from "ws";

import {
  consoleLines,
  cutLines,
  followStartCommand,
  linesOf,
  type LiveSandbox,
  type LogLine,
  type SandboxContext,
} from "../../sandbox/index.ts";
import { endCommand } from "../end-command.ts";
import { toLogEntry } from "../wire.ts";
import { closeWithError } from "./socket-messages.ts";

/** No backend tells of new console output, so it is looked at this often, and only while somebody watches. */
const consoleIntervalMs = 1000;

/** Ends when the client goes away or the sandbox is gone. */
export async function serveLogs(
  socket: WebSocket,
  context: SandboxContext,
  sandbox: LiveSandbox,
  backlog: number,
  requestId: string,
): Promise<void> {
  const gone = new AbortController();
  socket.once("close", () => gone.abort(new Error("the client went away")));
  const send = async (lines: readonly LogLine[]): Promise<void> => {
    for (const line of lines) await sendText(socket, JSON.stringify(toLogEntry(line)));
  };
  try {
    await Promise.all([
      followConsole(context, sandbox, backlog, gone.signal, send),
      followOutput(sandbox, "stdout", backlog, gone.signal, send),
      followOutput(sandbox, "stderr", backlog, gone.signal, send),
    ]);
    socket.close(1000);
  } catch (error) {
    if (!gone.signal.aborted) closeWithError(socket, error, requestId);
  }
}

async function followConsole(
  context: SandboxContext,
  sandbox: LiveSandbox,
  backlog: number,
  signal: AbortSignal,
  send: (lines: readonly LogLine[]) => Promise<void>,
): Promise<void> {
  let shown: string[] | undefined;
  while (!signal.aborted && context.registry.find(sandbox.record.id) === sandbox) {
    // A line that goes on, such as a progress bar, would look like a new one each time.
    const lines = await consoleLines(context, sandbox, signal, { finished: true });
    const texts = lines.map(({ message }) => message);
    await send(
      shown === undefined
        ? lines.slice(lines.length - Math.min(backlog, lines.length))
        : lines.slice(newFrom(shown, texts)),
    );
    shown = texts;
    await pause(consoleIntervalMs, signal);
  }
}

/** Where, in the newest lines, those begin that were not shown yet: the log only grows, and loses its oldest lines. */
function newFrom(shown: readonly string[], lines: readonly string[]): number {
  const last = shown.slice(-5);
  if (last.length === 0) return 0;
  for (let end = lines.length; end >= last.length; end -= 1) {
    if (last.every((text, index) => text === lines[end - last.length + index])) return end;
  }
  return 0;
}

async function followOutput(
  sandbox: LiveSandbox,
  source: "stdout" | "stderr",
  backlog: number,
  signal: AbortSignal,
  send: (lines: readonly LogLine[]) => Promise<void>,
): Promise<void> {
  if (sandbox.record.status !== "running" || sandbox.record.spec.startCommand === undefined) return;
  const command = await followStartCommand(sandbox, source, backlog, signal);
  const end = (): void => void endCommand(command);
  signal.addEventListener("abort", end, { once: true });
  try {
    command.stderr.resume();
    for await (const line of cutLines(command.stdout)) {
      await send(linesOf(line, source, Date.now()));
    }
    await command.exit;
  } catch {
    // The sandbox was stopped or removed, and its outputs with it; the console tells how it goes on.
  } finally {
    signal.removeEventListener("abort", end);
  }
}

async function sendText(socket: WebSocket, text: string): Promise<void> {
  if (socket.readyState !== socket.OPEN) return;
  await new Promise<void>((resolve) => socket.send(text, () => resolve()));
}

async function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, durationMs);
    signal.addEventListener("abort", done, { once: true });
  });
}
