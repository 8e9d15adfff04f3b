import { timeoutSignal } from "../core/deadline.ts";
import { AbortedError } from "../errors/index.ts";
import { GuestMisbehavedError } from "./errors.ts";
import { agentInfo } from "./guest-info.ts";
import { Link } from "./link.ts";
import { Mux } from "./mux.ts";
import { type OpenPipe, PipeKeeper } from "./pipe-keeper.ts";
import { Session } from "./session.ts";
import type { AgentSession, ConnectOptions } from "./types.ts";

const defaultConnectMs = 60_000;
const defaultReconnectMs = 30_000;
const defaultKeepAliveMs = 15_000;

/**
 * Opens a session with a guest's agent: opens the pipe again and again until the agent answers or the deadline passes
 * (`guest_unresponsive`). The session reopens the pipe in the same way when it breaks, and resumes where it was.
 */
export async function connectAgent(open: OpenPipe, options: ConnectOptions = {}): Promise<AgentSession> {
  let session: Session | undefined;
  let failure: Error | undefined;
  const link: Link = new Link({
    frame: (frame) => mux.receive(frame),
    down: () => session?.reconnect(),
    fatal: (error) => {
      failure = error;
      void session?.end(error);
    },
  });
  const mux = new Mux(link);
  const keeper = new PipeKeeper(open, link);
  const signals = [timeoutSignal(options.timeoutMs ?? defaultConnectMs)];
  if (options.signal !== undefined) signals.push(options.signal);
  try {
    const info = agentInfo(await keeper.connect(AbortSignal.any(signals)));
    session = new Session({
      info,
      link,
      mux,
      keeper,
      reconnectMs: options.reconnectMs ?? defaultReconnectMs,
      keepAliveMs: options.keepAliveMs ?? defaultKeepAliveMs,
    });
  } catch (error) {
    await link.close(!(error instanceof GuestMisbehavedError));
    if (options.signal?.aborted === true) {
      throw new AbortedError("connecting to the guest's agent", error);
    }
    throw error;
  }
  // What happened in the same breath as the answer.
  if (failure !== undefined) await session.end(failure);
  else if (!link.connected) session.reconnect();
  return session;
}
