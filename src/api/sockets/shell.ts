/** `WS /sandboxes/:id/shell-stream`: an interactive shell on a terminal. */
import type { WebSocket } from "ws";

import { HeyvmError, InvalidArgumentError } from "../../errors/index.ts";
import { type LiveSandbox, openShell } from "../../sandbox/index.ts";
import { shellClientMessageSchema, shellFrame, type ShellInit, shellInitSchema } from "../schema.ts";
import { parseJson, validate } from "../validate.ts";
import { type ShellSession, ShellTakenError, startShellSession } from "./shell-session.ts";
import { closeWithError, createInbox, isAnswered, type SocketMessage } from "./socket-messages.ts";

/** Shells of one sandbox that wait for their client; docs/guides/cli.md says so. */
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
        : await goOn(socket, sessions, sandbox, init.sessionId);
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
  hangUpLongestWaiting(sessions, sandbox);
  const gone = new AbortController();
  const onClose = (): void => gone.abort(new Error("the client went away"));
  socket.once("close", onClose);
  const shell = await openShell(sandbox, { cwd, env, user, terminal: { cols, rows } }, gone.signal);
  socket.off("close", onClose);
  shell.stdin.on("error", () => {});
  const session = startShellSession(sandbox.record.id, shell, (id) => sessions.delete(id));
  if (gone.signal.aborted) {
    // Nobody knows its id.
    session.hangUp();
    throw gone.signal.reason;
  }
  sessions.set(session.id, session);
  return session;
}

/** A client that cannot hold on to any must not fill the guest with shells. */
function hangUpLongestWaiting(sessions: ShellSessions, { record }: LiveSandbox): void {
  const waiting = [...sessions.values()].filter(
    ({ sandboxId, waitingSinceMs }) => sandboxId === record.id && waitingSinceMs !== undefined,
  );
  const newestFirst = waiting.toSorted((a, b) => (b.waitingSinceMs ?? 0) - (a.waitingSinceMs ?? 0));
  for (const session of newestFirst.slice(mostWaiting)) session.hangUp();
}

async function goOn(
  socket: WebSocket,
  sessions: ShellSessions,
  sandbox: LiveSandbox,
  id: string,
): Promise<ShellSession> {
  const session = findSession(sessions, sandbox, id);
  if (session.waitingSinceMs !== undefined) return session;
  // An attempt that its client has given up may arrive late: it must not take the shell from a later one.
  if (!(await isAnswered(socket))) throw new ShellTakenError();
  return findSession(sessions, sandbox, id);
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
  else {
    // First, as a connection that breaks while it closes has broken.
    session.hangUp();
    socket.close(1000);
  }
}
