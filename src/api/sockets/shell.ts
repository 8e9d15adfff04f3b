/** `WS /sandboxes/:id/shell-stream`: an interactive shell on a terminal. */
import { randomUUID } from "node:crypto";
import { constants } from "node:os";

import type { WebSocket } from "ws";

import type { CommandExit, RunningCommand } from "../../agent/types.ts";
import { InvalidArgumentError } from "../../errors/index.ts";
import { type LiveSandbox, openShell } from "../../sandbox/index.ts";
import { shellClientMessageSchema, shellFrame, shellInitSchema, type ShellServerMessage } from "../schema.ts";
import { parseJson, validate } from "../validate.ts";
import { writeInput } from "./guest-input.ts";
import {
  closeWithError,
  createInbox,
  sendFrame,
  sendMessage,
  type SocketMessage,
} from "./socket-messages.ts";

/** Kind and sequence number before the bytes of an output frame. */
const outputHeaderBytes = 9;

/** Runs until the shell ends or the client goes away, which hangs it up. */
export async function serveShell(socket: WebSocket, sandbox: LiveSandbox, requestId: string): Promise<void> {
  const gone = new AbortController();
  socket.once("close", () => gone.abort(new Error("the client went away")));
  const inbox = createInbox(socket);
  try {
    const { cols, rows, cwd, env, user } = validate(
      shellInitSchema,
      parseJson(await inbox.first(), "message"),
    );
    const shell = await openShell(sandbox, { cwd, env, user, terminal: { cols, rows } }, gone.signal);
    const hangUp = (): void => {
      shell.stdout.resume();
      shell.kill("SIGHUP");
      shell.kill("SIGKILL");
    };
    if (gone.signal.aborted) hangUp();
    else gone.signal.addEventListener("abort", hangUp, { once: true });
    shell.stdin.on("error", () => {});
    say(socket, { type: "ready", sessionId: randomUUID() });
    inbox.receive((message) => {
      try {
        obey(socket, shell, message);
      } catch (error) {
        closeWithError(socket, error, requestId);
      }
    });
    const [exit] = await Promise.all([shell.exit, pump(socket, shell)]);
    gone.signal.removeEventListener("abort", hangUp);
    say(socket, { type: "exit", code: exitCodeOf(exit) });
    socket.close(1000);
  } catch (error) {
    closeWithError(socket, error, requestId);
  }
}

function obey(socket: WebSocket, shell: RunningCommand, message: SocketMessage): void {
  if ("bytes" in message) {
    if (message.bytes[0] !== shellFrame.input) {
      throw new InvalidArgumentError("message", "a client's binary frames begin with 0x01");
    }
    writeInput(socket, shell.stdin, message.bytes.subarray(1));
    return;
  }
  const order = validate(shellClientMessageSchema, parseJson(message.text, "message"));
  if (order.type === "resize") shell.resize(order);
  else if (order.type === "close") socket.close(1000);
}

async function pump(socket: WebSocket, shell: RunningCommand): Promise<void> {
  let sequence = 0n;
  for await (const chunk of shell.stdout) {
    sequence += 1n;
    const head = Buffer.alloc(outputHeaderBytes);
    head.writeUInt8(shellFrame.output, 0);
    head.writeBigUInt64BE(sequence, 1);
    await sendFrame(socket, Buffer.concat([head, chunk]));
  }
}

function say(socket: WebSocket, message: ShellServerMessage): void {
  sendMessage(socket, message);
}

function exitCodeOf({ code, signal }: CommandExit): number {
  return code ?? 128 + (signal === undefined ? 0 : constants.signals[signal]);
}
