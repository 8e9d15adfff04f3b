/** All sandboxes: make one, find one, list them. */
import type { Sandbox as SandboxDocument } from "../api/schema.ts";
import type { CallOptions } from "./deadline.ts";
import { type ProgressOptions, requestWithProgress } from "./progress.ts";
import { type CreateSandboxOptions, toCreateRequest } from "./sandbox-info.ts";
import { createSandboxHandle, type OwnedSandbox, type Sandbox } from "./sandbox.ts";
import type { Transport } from "./transport.ts";

export interface Sandboxes {
  /**
   * Makes a sandbox and waits until it is ready. When the signal ends first, the daemon undoes what it began, and this
   * rejects after the undo.
   */
  create(options?: CreateSandboxOptions, progress?: ProgressOptions): Promise<OwnedSandbox>;
  /** By id, unique prefix of it, slug or name. */
  get(reference: string, options?: CallOptions): Promise<Sandbox>;
  /** The running ones; `all`: in whatever state. */
  list(options?: CallOptions & { all?: boolean }): Promise<Sandbox[]>;
}

/** How long an undo may take before its waiter gives up; the daemon goes on undoing. */
const undoTimeoutMs = 60_000;

export function createSandboxes(transport: Transport): Sandboxes {
  return {
    async create(options = {}, progress = {}) {
      let id: string | undefined;
      try {
        const document = await requestWithProgress<SandboxDocument & { type: "sandbox" }>(
          transport,
          "/sandboxes",
          toCreateRequest(options),
          progress,
          (accepted) => {
            id = accepted;
          },
        );
        return createSandboxHandle(transport, document);
      } catch (error) {
        if (progress.signal?.aborted === true && id !== undefined) await waitForUndo(transport, id);
        throw error;
      }
    },
    async get(reference, options = {}) {
      const path = `/sandboxes/${encodeURIComponent(reference)}`;
      return createSandboxHandle(transport, await transport.json<SandboxDocument>("GET", path, options));
    },
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

/** Removing what is being undone waits for the undo. That it is gone already is what we want. */
async function waitForUndo(transport: Transport, id: string): Promise<void> {
  await transport
    .json("DELETE", `/sandboxes/${id}`, { timeoutMs: undoTimeoutMs })
    .catch((_undoneOrUnreachable: unknown) => undefined);
}
