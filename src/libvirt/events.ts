/** What the daemon tells by itself: domains that change, and guest agents that come and go. */
import type { CallOptions } from "./call-options.ts";
import type { DomainRef } from "./calls/domain.ts";

export type LifecycleEventName =
  | "defined"
  | "undefined"
  | "started"
  | "suspended"
  | "resumed"
  | "stopped"
  | "shutdown"
  | "pmsuspended"
  | "crashed"
  | "unknown";

export interface LifecycleEvent {
  domain: DomainRef;
  event: LifecycleEventName;
  /** Libvirt's own word, for example `booted`, `destroyed`, `crashed`; `unknown` for one this client does not know. */
  detail: string;
}

export interface AgentEvent {
  domain: DomainRef;
  state: "connected" | "disconnected" | "unknown";
  reason: "domain-started" | "channel" | "unknown";
}

export interface Subscription extends AsyncDisposable {
  /** No event arrives after this has been called; the daemon is told. Idempotent. */
  unsubscribe(): Promise<void>;
}

export interface EventOptions extends CallOptions {
  /** Only this domain's events. */
  domain?: DomainRef | undefined;
}

/**
 * An event may arrive before or after the reply to the call that caused it. Subscriptions end with the connection
 * (`connection.closed`); a new connection needs new ones, and the caller looks at what changed in between.
 */
export interface EventCalls {
  onLifecycle(listener: (event: LifecycleEvent) => void, options?: EventOptions): Promise<Subscription>;
  onAgent(listener: (event: AgentEvent) => void, options?: EventOptions): Promise<Subscription>;
  /**
   * The same as an iterator: ends when the signal aborts, rejects when the connection is lost or 10,000 events wait
   * unread.
   */
  lifecycle(options?: EventOptions): AsyncIterableIterator<LifecycleEvent>;
}
