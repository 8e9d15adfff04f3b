/** `WS /sandboxes/:id/shell-stream`: an interactive shell on a terminal. */
import type { WebSocket } from "ws";

import { HeyvmError, InvalidArgumentError } from "../../errors/index.ts";
import { type LiveSandbox, openShell } from "../../sandbox/index.ts";
import { shellClientMessageSchema, shellFrame, type ShellInit, shellInitSchema } from "../schema.ts";
import { parseJson, validate } from "../validate.ts";
import { type ShellSession, startShellSession } from "./shell-session.ts";
import { closeWithError, createInbox, type SocketMessage } from "./socket-messages.ts";

/** In a sandbox. */
const mostWaiting = 16;

/** The shells that a client has, or may come back to, by their id. */
export type ShellSessions = Map<string, ShellSession>;

/** A client has come back too late, or to a shell that has ended. */
class ShellNotFoundError extends HeyvmError {
  constructor() {
    super("shell_not_found", "this shell has ended, or has waited too long for its client", {
      hint: "open a new one: leave out sessionId",
    });
  }
}

/** Opens a shell, or goes on with one whose client has lost its connection. */
export async function serveShell(
  socket: WebSocket,
  sessions: ShellSessions,
  sandbox: LiveSandbox,
  requestId: string,
): Promise<void> {
  const inbox = createInbox(socket);
  try {
    const init = validate(shellInitSchema, parseJson(await inbox.first(), "message"));
    const session =
      init.sessionId === undefined
        ? await begin(socket, sessions, sandbox, init)
        : findSession(sessions, sandbox, init.sessionId);
    if (init.sessionId !== undefined) session.shell.resize(init);
    session.attach(socket, requestId);
    inbox.receive((message) => {
      if (!session.serves(socket)) return;
      try {
        obey(socket, session, message);
      } catch (error) {
        session.hangUp();
        closeWithError(socket, error, requestId);
      }
    });
  } catch (error) {
    closeWithError(socket, error, requestId);
  }
}

async function begin(
  socket: WebSocket,
  sessions: ShellSessions,
  sandbox: LiveSandbox,
  { cols, rows, cwd, env, user }: ShellInit,
): Promise<ShellSession> {
  const waiting = [...sessions.values()].filter(
    ({ sandboxId, isWaiting }) => isWaiting && sandboxId === sandbox.record.id,
  );
  // A client that cannot hold on to any must not fill the guest with shells.
  for (const oldest of waiting.slice(0, -mostWaiting)) oldest.hangUp();
  const gone = new AbortController();
  const onClose = (): void => gone.abort(new Error("the client went away"));
  socket.once("close", onClose);
  const shell = await openShell(sandbox, { cwd, env, user, terminal: { cols, rows } }, gone.signal);
  socket.off("close", onClose);
  shell.stdin.on("error", () => {});
  const session = startShellSession(sandbox.record.id, shell, (id) => sessions.delete(id));
  // Nobody knows its id yet.
  if (gone.signal.aborted) session.hangUp();
  else sessions.set(session.id, session);
  return session;
}

function findSession(sessions: ShellSessions, { record }: LiveSandbox, id: string): ShellSession {
  const session = sessions.get(id);
  if (session?.sandboxId !== record.id) throw new ShellNotFoundError();
  return session;
}

function obey(socket: WebSocket, session: ShellSession, message: SocketMessage): void {
  if ("bytes" in message) {
    if (message.bytes[0] !== shellFrame.input) {
      throw new InvalidArgumentError("message", "a client's binary frames begin with 0x01");
    }
    session.type(message.bytes.subarray(1));
    return;
  }
  const order = validate(shellClientMessageSchema, parseJson(message.text, "message"));
  if (order.type === "resize") session.shell.resize(order);
  else if (order.type === "ack") session.acknowledge(order.seq);
  else socket.close(1000);
}
