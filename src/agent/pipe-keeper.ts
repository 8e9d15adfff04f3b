import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

import { timeoutSignal } from "../core/deadline.ts";
import { AbortedError, HeyvmError, messageOf } from "../errors/index.ts";
import { untilAborted } from "../core/until-aborted.ts";
import {
  GuestMisbehavedError,
  GuestUnresponsiveError,
  GuestUnsupportedError,
  SessionLostError,
} from "./errors.ts";
import { type GuestObject, guestInteger, guestObject, guestString } from "./guest-json.ts";
import { sayHello } from "./handshake.ts";
import type { Link } from "./link.ts";

export type OpenPipe = (signal: AbortSignal) => Promise<Duplex>;

const firstPauseMs = 50;
const longestPauseMs = 1000;
/** A pipe that breaks so often in so short a time is not opened again at once. */
const manyPipes = 20;
const shortTimeMs = 10_000;
/** An agent that has not answered for so long on one pipe may answer on another. */
const pipePatienceMs = 15_000;

/** Opens the pipe to the agent, and again whenever it breaks, and puts the link on it. */
export class PipeKeeper {
  readonly #open: OpenPipe;
  readonly #link: Link;
  readonly #session = randomBytes(16).toString("hex");
  #established = false;
  /** When the last pipes were attached. */
  #attachedAtMs: number[] = [];

  constructor(open: OpenPipe, link: Link) {
    this.#open = open;
    this.#link = link;
  }

  /**
   * Tries until the agent has answered and the link is attached; returns what the agent said. Rejects with the
   * signal's reason, or at once with what no further try can mend.
   */
  async connect(signal: AbortSignal): Promise<GuestObject> {
    let lastFailure: unknown;
    let pauseMs = firstPauseMs;
    const firstMs = this.#attachedAtMs[0] ?? Number.NEGATIVE_INFINITY;
    if (this.#attachedAtMs.length >= manyPipes && performance.now() - firstMs < shortTimeMs) {
      await sleep(longestPauseMs, undefined, { signal }).catch(() => {});
    }
    for (;;) {
      if (signal.aborted) throw givenUp(signal, lastFailure);
      try {
        return await this.#tryOnce(signal);
      } catch (error) {
        if (signal.aborted) throw givenUp(signal, lastFailure ?? error);
        if (error instanceof HeyvmError && !error.retryable) throw error;
        lastFailure = error;
      }
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
      pauseMs = Math.min(pauseMs * 2, longestPauseMs);
    }
  }

  async #tryOnce(signal: AbortSignal): Promise<GuestObject> {
    const patience = AbortSignal.any([signal, timeoutSignal(pipePatienceMs)]);
    const pipe = await openOrAbandon(this.#open, patience);
    pipe.on("error", () => {}); // its close says all that matters
    try {
      const hello = { session: this.#session, received: this.#link.received, resume: this.#established };
      const { reply, nonce, rest } = await sayHello(pipe, hello, patience, this.#established);
      refuseErrors(reply);
      this.#link.attach(pipe, nonce, guestInteger(reply, "received", 0, Number.MAX_SAFE_INTEGER), rest);
      this.#established = true;
      this.#attachedAtMs = [...this.#attachedAtMs, performance.now()].slice(-manyPipes);
      return reply;
    } catch (error) {
      pipe.destroy();
      throw error;
    }
  }
}

/** An `open` that does not heed its signal must not hold us up, nor leave its pipe behind. */
async function openOrAbandon(open: OpenPipe, signal: AbortSignal): Promise<Duplex> {
  signal.throwIfAborted();
  const opening = open(signal);
  try {
    return await untilAborted(opening, "opening the pipe to the agent", signal);
  } catch (error) {
    void opening.then(
      (pipe) => pipe.on("error", () => {}).destroy(),
      () => {},
    );
    // The signal's own reason: what has only taken long is tried again.
    throw signal.aborted && signal.reason instanceof Error ? signal.reason : error;
  }
}

function refuseErrors(reply: GuestObject): void {
  if (reply["error"] === undefined) return;
  const error = guestObject(reply, "error");
  const code = guestString(error, "code", 64);
  const message = guestString(error, "message", 4096);
  if (code === "session_lost") throw new SessionLostError(message);
  if (code === "unsupported_protocol") {
    throw new GuestUnsupportedError(`the guest's agent and this heyvm speak different protocols`, {
      hint: "make the sandbox anew, so that it gets this version's agent",
    });
  }
  throw new GuestMisbehavedError(`it refused the hello with ${code}: ${message}`);
}

function isTimeout(thrown: unknown): boolean {
  return thrown instanceof Error && thrown.name === "TimeoutError";
}

function givenUp(signal: AbortSignal, lastFailure: unknown): Error {
  const reason: unknown = signal.reason;
  if (reason instanceof AbortedError) return reason;
  const why = lastFailure === undefined || isTimeout(lastFailure) ? "" : ` (last: ${messageOf(lastFailure)})`;
  const said = isTimeout(reason) ? "in time" : `(${reason instanceof Error ? reason.message : "given up"})`;
  return new GuestUnresponsiveError(`the guest's agent did not answer ${said}${why}`, {
    cause: lastFailure,
  });
}
