/** Waits for a domain to end, by libvirt's events. */
import { timeoutSignal } from "../../../core/deadline.ts";
import { AbortedError, HeyvmError, makeRoomHint } from "../../../errors/index.ts";
import type { Domains, DomainStatus } from "../host.ts";

export interface DomainEnd extends AsyncDisposable {
  /** Aborted when the domain has ended or failed after it was seen running; the reason is a `DomainEndedError`. */
  readonly signal: AbortSignal;
  /** Settles when the domain has ended. */
  wait(timeoutMs: number, signal: AbortSignal): Promise<void>;
}

/** A domain ended, or was paused by its disk's errors, while it was still needed. */
export class DomainEndedError extends HeyvmError {
  constructor(domain: string, { state, reason, code }: DomainStatus) {
    const how = state === "failed" ? `failed: ${reason ?? "no reason given"}` : "powered itself off";
    super(code ?? "guest_failed", `machine ${domain} ${how}`, {
      hint: code === "disk_full" ? makeRoomHint : undefined,
    });
  }
}

/** Begins to watch; call it before the domain starts. */
export function domainEnd(domains: Domains, domain: string): DomainEnd {
  const ended = new AbortController();
  let seenRunning = false;
  const look = async () => {
    const status = await domains.status(domain, timeoutSignal(30_000)).catch(() => undefined);
    if (status?.state === "running" || status?.state === "paused") seenRunning = true;
    else if (seenRunning && status !== undefined) ended.abort(new DomainEndedError(domain, status));
  };
  let looking: Promise<void> = Promise.resolve();
  const stop = domains.onChange((changed) => {
    if (changed === domain) looking = looking.then(look);
  });
  return {
    signal: ended.signal,
    async wait(timeoutMs, signal) {
      // Events are lost when the daemon restarts: one look of our own.
      seenRunning = true;
      looking = looking.then(look);
      await looking;
      if (ended.signal.aborted) return;
      const deadline = timeoutSignal(timeoutMs);
      const any = AbortSignal.any([ended.signal, deadline, signal]);
      await new Promise<void>((resolve) => {
        if (any.aborted) resolve();
        else any.addEventListener("abort", () => resolve(), { once: true });
      });
      if (ended.signal.aborted) return;
      if (signal.aborted) throw new AbortedError(`waiting for the end of ${domain}`, signal.reason);
      throw new HeyvmError("timeout", `${domain} did not power off within ${timeoutMs / 1000} s`);
    },
    async [Symbol.asyncDispose]() {
      stop();
      await looking;
    },
  };
}
