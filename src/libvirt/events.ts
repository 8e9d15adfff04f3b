/** What the daemon tells by itself: domains that change, and guest agents that come and go. */
import { createDeferred } from "./deferred.ts";
import { lifecycleDetails, lifecycleEventNames } from "./event-names.ts";
import { nameAt } from "./calls/flags.ts";
import { LibvirtAbortError, LibvirtClientError } from "./errors.ts";
import { onAbort } from "./on-abort.ts";
import { eventId, eventProcedure } from "./procedures.ts";
import { nothing, type Rpc } from "./rpc.ts";
import { readDomain, type DomainRef } from "./xdr-types.ts";
import type { XdrReader } from "./xdr.ts";

export type LifecycleEventName = (typeof lifecycleEventNames)[number] | "unknown";

export interface LifecycleEvent {
  domain: DomainRef;
  event: LifecycleEventName;
  /** Libvirt's own word, for example `booted`, `destroyed`, `crashed`; `unknown` for one this client does not know. */
  detail: string;
}

/** The guest was reset, mostly by itself; it begins anew in the same QEMU. */
export interface RebootEvent {
  domain: DomainRef;
}

export interface AgentEvent {
  domain: DomainRef;
  state: "connected" | "disconnected" | "unknown";
  reason: "domain-started" | "channel" | "unknown";
}

export interface Subscription extends AsyncDisposable {
  /** No event arrives after this has been called. Idempotent. */
  unsubscribe(): Promise<void>;
}

export interface EventOptions {
  /** Ends the subscription. */
  signal?: AbortSignal | undefined;
  /** Only this domain's events. */
  domain?: DomainRef | undefined;
}

/**
 * An event may arrive before or after the reply to the call that caused it. Subscriptions end with the connection
 * (`connection.closed`); a new connection needs new ones, and the caller looks at what changed in between.
 */
export interface EventCalls {
  /** Resolves when the daemon will tell of all that happens from now on. */
  onLifecycle(listener: (event: LifecycleEvent) => void, options?: EventOptions): Promise<Subscription>;
  onReboot(listener: (event: RebootEvent) => void, options?: EventOptions): Promise<Subscription>;
  onAgent(listener: (event: AgentEvent) => void, options?: EventOptions): Promise<Subscription>;
  /**
   * The same as an iterator: ends when the signal aborts, rejects when the connection is lost or 10,000 events wait
   * unread. It listens from the first `next()` on.
   */
  lifecycle(options?: EventOptions): AsyncIterableIterator<LifecycleEvent>;
}

/** How many events may wait for an iterator's reader. */
const maxQueuedEvents = 10_000;

const agentReasons = ["unknown", "domain-started", "channel"] as const;

export function eventCalls(rpc: Rpc): EventCalls {
  const lifecycle = createEventKind(rpc, eventId.lifecycle, eventProcedure.lifecycle, readLifecycle);
  const reboot = createEventKind(rpc, eventId.reboot, eventProcedure.reboot, readReboot);
  const agent = createEventKind(rpc, eventId.agentLifecycle, eventProcedure.agentLifecycle, readAgent);
  return {
    onLifecycle: lifecycle,
    onReboot: reboot,
    onAgent: agent,
    lifecycle: (options) => iterate(rpc, lifecycle, options),
  };
}

type Subscribe<E> = (listener: (event: E) => void, options?: EventOptions) => Promise<Subscription>;

/**
 * The daemon is asked once for each kind of event, at the first subscription, and tells of all domains from then on: it
 * refuses a second callback of the same kind, and events are few.
 */
function createEventKind<E extends { domain: DomainRef }>(
  rpc: Rpc,
  id: number,
  procedure: number,
  read: (reader: XdrReader) => E,
): Subscribe<E> {
  const listeners = new Set<(event: E) => void>();
  let registered: Promise<void> | undefined;

  rpc.onEvent(procedure, (reader) => {
    // The callback's id; there is only ours.
    reader.i32();
    const event = read(reader);
    reader.end();
    // Not here: what a listener throws is its own affair and must not end the connection.
    for (const listener of listeners) queueMicrotask(() => listener(event));
  });

  const register = async (): Promise<void> => {
    try {
      await rpc.call(
        "connectDomainEventCallbackRegisterAny",
        (writer) => writer.i32(id).optional(undefined, nothing),
        (reader) => reader.i32(),
      );
    } catch (error) {
      registered = undefined;
      throw error;
    }
  };

  return async (listener, { domain, signal } = {}) => {
    if (signal?.aborted === true) throw new LibvirtAbortError("subscribing to events", signal.reason);
    let isActive = true;
    // Before the daemon is asked: the first event may come in the same packet as its answer.
    const own = (event: E): void => {
      if (isActive && (domain === undefined || domain.uuid === event.domain.uuid)) listener(event);
    };
    listeners.add(own);
    const end = (): void => {
      isActive = false;
      listeners.delete(own);
      forgetSignal();
    };
    const forgetSignal = onAbort(signal, end);
    try {
      await (registered ??= register());
    } catch (error) {
      end();
      throw error;
    }
    const unsubscribe = async (): Promise<void> => end();
    return { unsubscribe, [Symbol.asyncDispose]: unsubscribe };
  };
}

async function* iterate<E extends { domain: DomainRef }>(
  rpc: Rpc,
  subscribe: Subscribe<E>,
  options: EventOptions = {},
): AsyncGenerator<E> {
  const { signal, domain } = options;
  const queue: E[] = [];
  let failure: LibvirtClientError | undefined;
  let arrival = createDeferred<void>();
  const fail = (error: LibvirtClientError): void => {
    failure ??= error;
    arrival.resolve();
  };
  await using _subscription = await subscribe(
    (event) => {
      if (queue.length < maxQueuedEvents) queue.push(event);
      else fail(new LibvirtClientError(`${maxQueuedEvents} events of libvirt wait for their reader`));
      arrival.resolve();
    },
    { domain },
  );
  const forget = rpc.onLost(fail);
  const forgetSignal = onAbort(signal, () => arrival.resolve());
  try {
    for (;;) {
      if (signal?.aborted === true) return;
      const event = queue.shift();
      if (event !== undefined) {
        yield event;
      } else if (failure !== undefined) {
        throw failure;
      } else {
        await arrival.promise;
        arrival = createDeferred();
      }
    }
  } finally {
    forget();
    forgetSignal();
  }
}

function readLifecycle(reader: XdrReader): LifecycleEvent {
  const domain = readDomain(reader);
  const event = nameAt(lifecycleEventNames, reader.i32());
  const detail = reader.i32();
  return { domain, event, detail: event === "unknown" ? "unknown" : nameAt(lifecycleDetails[event], detail) };
}

function readReboot(reader: XdrReader): RebootEvent {
  return { domain: readDomain(reader) };
}

function readAgent(reader: XdrReader): AgentEvent {
  const domain = readDomain(reader);
  const state = reader.i32();
  return {
    domain,
    state: state === 1 ? "connected" : state === 2 ? "disconnected" : "unknown",
    reason: nameAt(agentReasons, reader.i32()),
  };
}
