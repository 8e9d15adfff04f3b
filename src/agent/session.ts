import type { Duplex } from "node:stream";

import { timeoutSignal } from "../core/deadline.ts";
import { callAgent } from "./calls.ts";
import { dialGuest } from "./dial.ts";
import { GuestUnresponsiveError, SessionClosedError } from "./errors.ts";
import { execInGuest } from "./exec.ts";
import { guestFiles } from "./files.ts";
import { identityParams } from "./identity.ts";
import type { Link } from "./link.ts";
import { listCommands, readStatistics } from "./machine.ts";
import type { Mux } from "./mux.ts";
import type { PipeKeeper } from "./pipe-keeper.ts";
import { createDeferred } from "../core/deferred.ts";
import type { CallOptions } from "../core/deadline.ts";
import type {
  AgentFiles,
  AgentInfo,
  AgentSession,
  DialTarget,
  ExecRequest,
  GuestCommand,
  GuestIdentity,
  GuestStatistics,
  RunningCommand,
} from "./types.ts";

export interface SessionParts {
  info: AgentInfo;
  link: Link;
  mux: Mux;
  keeper: PipeKeeper;
  reconnectMs: number;
  keepAliveMs: number;
}

/** The agent's operations, and the life of the session: reconnecting, signs of life, the end. */
export class Session implements AgentSession {
  info: AgentInfo;
  readonly files: AgentFiles;
  readonly closed: Promise<Error | undefined>;
  readonly #parts: SessionParts;
  readonly #closed = createDeferred<Error | undefined>();
  readonly #ending = new AbortController();
  readonly #keepAlive: NodeJS.Timeout | undefined;
  #reconnecting = false;
  #held = false;
  /** When the agent was last asked for a sign of life. */
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.info = parts.info;
    this.files = guestFiles(parts.mux);
    this.closed = this.#closed.promise;
    if (parts.keepAliveMs > 0) {
      this.#keepAlive = setInterval(() => this.#watch(), parts.keepAliveMs);
      this.#keepAlive.unref();
    }
  }

  exec(request: ExecRequest, options?: CallOptions): Promise<RunningCommand> {
    return execInGuest(this.#parts.mux, request, options);
  }

  dial(target: DialTarget, options?: CallOptions): Promise<Duplex> {
    return dialGuest(this.#parts.mux, target, options);
  }

  async identify(identity: GuestIdentity, options?: CallOptions): Promise<void> {
    const call = {
      operation: "identify",
      params: identityParams(identity),
      what: "giving the guest its identity",
    };
    await callAgent(this.#parts.mux, call, options);
    if (identity.bootId !== undefined) this.info = { ...this.info, bootId: identity.bootId };
  }

  async mount(
    tag: string,
    guestPath: string,
    options: CallOptions & { readOnly?: boolean } = {},
  ): Promise<void> {
    const params = { tag, path: guestPath, read_only: options.readOnly ?? false };
    await this.#call("mount", params, `mounting ${tag} at ${guestPath}`, options);
  }

  async ping(options?: CallOptions): Promise<number> {
    const startedAt = performance.now();
    await this.#call("ping", {}, "a round trip to the guest's agent", options);
    return performance.now() - startedAt;
  }

  statistics(options?: CallOptions): Promise<GuestStatistics> {
    return readStatistics(this.#parts.mux, options);
  }

  commands(options?: CallOptions): Promise<GuestCommand[]> {
    return listCommands(this.#parts.mux, options);
  }

  async signal(pid: number, signal: NodeJS.Signals, options?: CallOptions): Promise<void> {
    await this.#call("signal", { pid, signal }, `sending ${signal} to command ${pid}`, options);
  }

  async sync(options?: CallOptions): Promise<void> {
    await callAgent(
      this.#parts.mux,
      { operation: "sync", params: {}, what: "syncing the guest's disks" },
      options,
      120_000,
    );
  }

  async powerOff(options: CallOptions & { reboot?: boolean } = {}): Promise<void> {
    const reboot = options.reboot ?? false;
    await this.#call(
      "power_off",
      { reboot },
      `asking the guest to ${reboot ? "reboot" : "power off"}`,
      options,
    );
  }

  /** The guest is about to be paused: its silence means nothing until `release`. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    this.#parts.link.lastReceivedAtMs = performance.now();
  }

  close(reason?: Error): Promise<void> {
    return this.end(reason);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The session is over for good, because of `reason` or because it was closed. */
  async end(reason: Error | undefined): Promise<void> {
    if (this.#ending.signal.aborted) return;
    const failure = reason ?? new SessionClosedError("the call was not finished");
    this.#ending.abort(failure);
    clearInterval(this.#keepAlive);
    const { link, mux } = this.#parts;
    mux.fail(failure);
    await link.close(reason === undefined);
    this.#closed.resolve(reason);
  }

  /** The pipe broke: opens it again, or ends the session when that takes too long. */
  reconnect(): void {
    if (this.#reconnecting || this.#ending.signal.aborted) return;
    this.#reconnecting = true;
    void this.#reconnect().finally(() => {
      this.#reconnecting = false;
      if (!this.#parts.link.connected) this.reconnect();
    });
  }

  async #call(
    operation: string,
    params: Record<string, unknown>,
    what: string,
    options: CallOptions | undefined,
  ): Promise<void> {
    await callAgent(this.#parts.mux, { operation, params, what }, options);
  }

  async #reconnect(): Promise<void> {
    const { keeper, reconnectMs } = this.#parts;
    const patience = AbortSignal.any([this.#ending.signal, timeoutSignal(reconnectMs)]);
    try {
      await keeper.connect(patience);
    } catch (error) {
      if (this.#held && error instanceof GuestUnresponsiveError) return; // tries again
      await this.end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** While something is under way, a silent agent is asked for a sign of life; without one, the pipe is given up. */
  #watch(): void {
    const { link, mux, keepAliveMs } = this.#parts;
    if (this.#held || mux.size === 0 || !link.connected) return;
    const now = performance.now();
    if (link.lastReceivedAtMs > this.#askedAtMs) {
      if (now - link.lastReceivedAtMs < keepAliveMs * 0.9) return;
      this.#askedAtMs = now;
      link.ping();
    } else if (now - this.#askedAtMs > keepAliveMs * 0.9) link.drop();
  }
}
