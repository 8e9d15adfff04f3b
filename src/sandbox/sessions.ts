/** One agent session per sandbox: connected when first needed, shared by all, connected anew when it was lost. */
import type { AgentSession } from "../agent/types.ts";
import { untilAborted } from "../core/until-aborted.ts";

export interface SessionHolder {
  /** The session, connected if need be. The signal ends this wait, not the connecting that others wait for, too. */
  get(signal: AbortSignal): Promise<AgentSession>;
  /** The session, if there is one now. */
  current(): AgentSession | undefined;
  /** Ends the session (calls that are under way fail with the reason), or the connecting. The next `get` connects anew. */
  close(reason?: Error): Promise<void>;
  /** As `close`, and every later `get` throws the reason: nobody would close what it connected. */
  end(reason: Error): Promise<void>;
}

export function createSessionHolder(connect: (signal: AbortSignal) => Promise<AgentSession>): SessionHolder {
  let pending: { session: Promise<AgentSession>; abort: AbortController } | undefined;
  let session: AgentSession | undefined;
  let ended: Error | undefined;

  const begin = (): Promise<AgentSession> => {
    const abort = new AbortController();
    const mine = { session: connect(abort.signal), abort };
    pending = mine;
    const forget = (): void => {
      if (pending === mine) {
        pending = undefined;
        session = undefined;
      }
    };
    void mine.session
      .then(async (connected) => {
        if (pending === mine) session = connected;
        return await connected.closed;
      })
      .then(forget, forget);
    return mine.session;
  };

  const close = async (reason?: Error): Promise<void> => {
    const closing = pending;
    pending = undefined;
    session = undefined;
    closing?.abort.abort(reason);
    const connected = await closing?.session.catch(() => undefined);
    await connected?.close(reason);
  };

  return {
    current: () => session,
    async get(signal) {
      if (ended !== undefined) throw ended;
      return await untilAborted(pending?.session ?? begin(), "waiting for the sandbox's agent", signal);
    },
    close,
    async end(reason) {
      ended = reason;
      await close(reason);
    },
  };
}
