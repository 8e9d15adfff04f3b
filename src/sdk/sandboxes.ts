/** All sandboxes: make one, find one, list them. */
import type { Sandbox as SandboxDocument } from "../api/schema.ts";
import { AbortedError, messageOf } from "../errors/index.ts";
import type { CallOptions } from "../core/deadline.ts";
import { createDeferred } from "../core/deferred.ts";
import { sandboxPath } from "./endpoint.ts";
import { type ProgressOptions, requestWithProgress } from "./progress.ts";
import { NotFoundError } from "./remote-error.ts";
import { toCreateRequest } from "./sandbox-info.ts";
import type { CreateSandboxOptions } from "./sandbox-types.ts";
import {
  createSandboxActions,
  createSandboxHandle,
  type LookOptions,
  type OwnedSandbox,
  type Sandbox,
  type SandboxActions,
} from "./sandbox.ts";
import type { Transport } from "./transport.ts";

export interface Sandboxes {
  /**
   * Makes a sandbox and waits until it is ready. When the signal ends first, the daemon undoes what it began, and this
   * rejects after the undo.
   */
  create(options?: CreateSandboxOptions, progress?: ProgressOptions): Promise<OwnedSandbox>;
  /** By id, unique prefix of it, slug or name. */
  get(reference: string, options?: LookOptions): Promise<Sandbox>;
  /**
   * The same without asking the daemon: what is done with it finds it, or fails as `get` would. Saves the round trip where
   * nobody wants to know its name or state. Throws for what can be no sandbox's name, such as `..`.
   */
  at(reference: string): SandboxActions;
  /** The running ones; `all`: in whatever state. */
  list(options?: CallOptions & { all?: boolean }): Promise<Sandbox[]>;
}

/** The daemon tells the id at once; one that doesn't is busy, and undoes when the connection closes. */
const acceptTimeoutMs = 2000;
/** How long an undo may take before its waiter gives up; the daemon goes on undoing. */
const undoTimeoutMs = 60_000;

export function createSandboxes(transport: Transport): Sandboxes {
  return {
    async create(options = {}, progress = {}) {
      const accepted = createDeferred<string>();
      const connection = new AbortController();
      let givingUp: Promise<Undo> | undefined;
      const onAbort = (): void => {
        givingUp = giveUp(transport, accepted.promise).finally(() =>
          connection.abort(progress.signal?.reason),
        );
      };
      if (progress.signal?.aborted === true) throw new AbortedError("the create", progress.signal.reason);
      progress.signal?.addEventListener("abort", onAbort, { once: true });
      try {
        const document = await requestWithProgress<SandboxDocument & { type: "sandbox" }>(
          transport,
          "/sandboxes",
          toCreateRequest(options),
          { ...progress, signal: connection.signal },
          accepted.resolve,
        );
        if (givingUp === undefined) return createSandboxHandle(transport, document);
      } catch (error) {
        if (givingUp === undefined) throw error;
      } finally {
        progress.signal?.removeEventListener("abort", onAbort);
      }
      throw new CreateAbortedError(await givingUp, progress.signal?.reason);
    },
    async get(reference, { stats, ...options } = {}) {
      const request = { ...options, query: { stats } };
      const document = await transport.json<SandboxDocument>("GET", sandboxPath(reference), request);
      return createSandboxHandle(transport, document);
    },
    at: (reference) => createSandboxActions(transport, reference),
    async list(options = {}) {
      const { all, ...call } = options;
      const documents = await transport.json<SandboxDocument[]>("GET", "/sandboxes", {
        ...call,
        query: { all },
      });
      return documents.map((document) => createSandboxHandle(transport, document));
    },
  };
}

/** What became of a create that was given up: `id` is not known when the daemon had not answered yet. */
type Undo = { done: true } | { done: false; id: string | undefined; why: string };

/** The caller's signal ended a create; `details.undone` tells whether nothing is left of it. */
export class CreateAbortedError extends AbortedError {
  constructor(undo: Undo, cause: unknown) {
    if (undo.done) {
      super("the create", cause, { outcome: "nothing is left of the sandbox", details: { undone: true } });
      return;
    }
    const { id, why } = undo;
    super("the create", cause, {
      outcome: `${id === undefined ? "the daemon undoes it if it had begun" : `${id} may be left`}: ${why}`,
      hint: `see whether it is there: heyvm list --all${id === undefined ? "" : `; remove it: heyvm rm ${id}`}`,
      details: { undone: false, ...(id !== undefined && { id }) },
    });
  }
}

/** Removing what is being made ends its create, and answers after the undo. */
async function giveUp(transport: Transport, accepted: Promise<string>): Promise<Undo> {
  const id = await Promise.race([accepted, expireAfter(acceptTimeoutMs)]);
  if (id === undefined) return { done: false, id, why: "it had not said yet what it makes" };
  try {
    await transport.json("DELETE", sandboxPath(id), { timeoutMs: undoTimeoutMs });
    return { done: true };
  } catch (error) {
    // It had failed, or was undone, by then.
    if (error instanceof NotFoundError) return { done: true };
    return { done: false, id, why: messageOf(error) };
  }
}

async function expireAfter(timeoutMs: number): Promise<undefined> {
  await new Promise((resolve) => setTimeout(resolve, timeoutMs).unref());
  return undefined;
}
