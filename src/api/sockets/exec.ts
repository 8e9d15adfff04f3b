/** `WS /sandboxes/:id/exec`: one command with its streams. */
import { constants } from "node:os";
import type { Readable } from "node:stream";

import type { WebSocket } from "ws";

import type { RunningCommand } from "../../agent/types.ts";
import { InvalidArgumentError } from "../../errors/index.ts";
import { execInSandbox, type LiveSandbox } from "../../sandbox/index.ts";
import { endCommand } from "../end-command.ts";
import {
  execChannel,
  execClientMessageSchema,
  type ExecInit,
  execInitSchema,
  type ExecServerMessage,
} from "../schema.ts";
import { parseJson, validate } from "../validate.ts";
import { writeInput } from "./guest-input.ts";
import {
  closeWithError,
  createInbox,
  sendFrame,
  sendMessage,
  type SocketMessage,
} from "./socket-messages.ts";

/** Runs until the command has ended and all of its output was sent, or the client went away. */
export async function serveExec(socket: WebSocket, sandbox: LiveSandbox, requestId: string): Promise<void> {
  const gone = new AbortController();
  socket.once("close", () => gone.abort(new Error("the client went away")));
  const inbox = createInbox(socket);
  try {
    const init = validate(execInitSchema, parseJson(await inbox.first(), "message"));
    const command = await execInSandbox(sandbox, { ...init, timeoutMs: init.timeout_ms }, gone.signal);
    const onGone = (): void => void endCommand(command);
    if (gone.signal.aborted) onGone();
    else gone.signal.addEventListener("abort", onGone, { once: true });
    await converse(socket, inbox, command, init);
    gone.signal.removeEventListener("abort", onGone);
    socket.close(1000);
  } catch (error) {
    closeWithError(socket, error, requestId);
  }
}

async function converse(
  socket: WebSocket,
  inbox: ReturnType<typeof createInbox>,
  command: RunningCommand,
  init: ExecInit,
): Promise<void> {
  const say = (message: ExecServerMessage): void => sendMessage(socket, message);
  // A command that does not read its input is no failure.
  command.stdin.on("error", () => {});
  if (init.stdin !== true && init.terminal === undefined) command.stdin.end();
  say({ type: "started", pid: command.pid });
  let misuse: unknown;
  inbox.receive((message) => {
    try {
      obey(socket, command, message);
    } catch (error) {
      misuse ??= error;
      void endCommand(command);
    }
  });
  const [exit] = await Promise.all([
    command.exit,
    pump(socket, execChannel.stdout, command.stdout),
    pump(socket, execChannel.stderr, command.stderr),
  ]);
  if (misuse !== undefined) throw misuse;
  say({ type: "exit", code: exit.code ?? null, signal: exit.signal ?? null, timed_out: exit.timedOut });
}

function obey(socket: WebSocket, command: RunningCommand, message: SocketMessage): void {
  if ("text" in message) {
    const order = validate(execClientMessageSchema, parseJson(message.text, "message"));
    if (order.type === "resize") {
      command.resize(order);
    } else if (isSignal(order.signal)) {
      command.kill(order.signal);
    } else {
      throw new InvalidArgumentError("signal", `there is no signal ${order.signal}`);
    }
    return;
  }
  const [channel] = message.bytes;
  if (channel !== execChannel.stdin) {
    throw new InvalidArgumentError("message", `a client cannot send on channel ${channel ?? "(none)"}`);
  }
  const payload = message.bytes.subarray(1);
  if (payload.length === 0) command.stdin.end();
  else writeInput(socket, command.stdin, payload);
}

/** Sends an output as it comes, as fast as the client takes it. */
async function pump(socket: WebSocket, channel: number, output: Readable): Promise<void> {
  const head = Buffer.of(channel);
  for await (const chunk of output) {
    await sendFrame(socket, Buffer.concat([head, chunk]));
  }
}

function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(constants.signals, name);
}
