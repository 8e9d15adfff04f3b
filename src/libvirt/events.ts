/** What the daemon tells by itself: domains that change, and guest agents that come and go. */
import type { CallOptions } from "./call-options.ts";
import { createDeferred } from "./deferred.ts";
import { lifecycleDetails, lifecycleEventNames } from "./event-names.ts";
import { nameAt } from "./calls/flags.ts";
import type { DomainRef } from "./calls/domain.ts";
import { LibvirtClientError } from "./errors.ts";
import { onAbort } from "./on-abort.ts";
import { eventId, eventProcedure } from "./procedures.ts";
import { nothing, type Rpc } from "./rpc.ts";
import { readDomain, writeDomain } from "./wire.ts";
import type { XdrReader } from "./xdr.ts";

export type LifecycleEventName = (typeof lifecycleEventNames)[number] | "unknown";

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

/** How many events may wait for an iterator's reader. */
const maxQueuedEvents = 10_000;

const agentReasons = ["unknown", "domain-started", "channel"] as const;

export function eventCalls(rpc: Rpc): EventCalls {
  const lifecycle = createEventKind(rpc, eventId.lifecycle, eventProcedure.lifecycle, readLifecycle);
  const agent = createEventKind(rpc, eventId.agentLifecycle, eventProcedure.agentLifecycle, readAgent);
  return {
    onLifecycle: lifecycle,
    onAgent: agent,
    lifecycle: (options) => iterate(rpc, lifecycle, options),
  };
}

type Subscribe<E> = (listener: (event: E) => void, options?: EventOptions) => Promise<Subscription>;

/** Each subscription is a callback of its own at the daemon, which tells in each event whose it is. */
function createEventKind<E>(
  rpc: Rpc,
  id: number,
  procedure: number,
  read: (reader: XdrReader) => E,
): Subscribe<E> {
  const listeners = new Map<number, (event: E) => void>();

  rpc.onEvent(procedure, (reader) => {
    const callback = reader.i32();
    const event = read(reader);
    reader.end();
    // Not here: what a listener throws is its own affair and must not end the connection.
    queueMicrotask(() => listeners.get(callback)?.(event));
  });

  return async (listener, options = {}) => {
    const callback = await rpc.call(
      "connectDomainEventCallbackRegisterAny",
      (writer) => writer.i32(id).optional(options.domain, (domain) => writeDomain(writer, domain)),
      // Here rather than after the call: the first event may come in the same packet.
      (reader) => {
        const callback = reader.i32();
        listeners.set(callback, listener);
        return callback;
      },
      options,
    );
    const unsubscribe = async (): Promise<void> => {
      if (!listeners.delete(callback) || rpc.lostBecause !== undefined) return;
      // When the daemon does not hear of it, it sends events that nobody listens to.
      await rpc
        .call("connectDomainEventCallbackDeregisterAny", (writer) => writer.i32(callback), nothing)
        .catch(() => undefined);
    };
    return { unsubscribe, [Symbol.asyncDispose]: unsubscribe };
  };
}

async function* iterate<E>(rpc: Rpc, subscribe: Subscribe<E>, options: EventOptions = {}): AsyncGenerator<E> {
  const { signal } = options;
  const queue: E[] = [];
  let failure: LibvirtClientError | undefined;
  let arrival = createDeferred<void>();
  const fail = (error: LibvirtClientError): void => {
    failure ??= error;
    arrival.resolve();
  };
  await using _subscription = await subscribe((event) => {
    if (queue.length < maxQueuedEvents) queue.push(event);
    else fail(new LibvirtClientError(`${maxQueuedEvents} events of libvirt wait for their reader`));
    arrival.resolve();
  }, options);
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

function readAgent(reader: XdrReader): AgentEvent {
  const domain = readDomain(reader);
  const state = reader.i32();
  return {
    domain,
    state: state === 1 ? "connected" : state === 2 ? "disconnected" : "unknown",
    reason: nameAt(agentReasons, reader.i32()),
  };
}
