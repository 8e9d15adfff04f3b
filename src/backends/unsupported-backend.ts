/** A backend that this version only knows by name: it says so, and never has a machine. */
import { HeyvmError } from "../errors/index.ts";
import type { Backend, BackendDescription } from "./backend.ts";
import type { BackendKind } from "./backend-kind.ts";

const reason = "not yet supported in this version of heyvm";

export function unsupportedKind(description: BackendDescription): BackendKind {
  return { ...description, open: async () => await Promise.resolve(unsupportedBackend(description)) };
}

/** It has no machine, whatever is asked. */
export function unsupportedBackend(description: BackendDescription): Backend {
  const { name } = description;
  const refuse = () => {
    return Promise.reject(
      new HeyvmError("unsupported", `backend ${name} is ${reason}`, {
        hint: "heyvm create --backend-type libvirt",
        details: { backend: name },
      }),
    );
  };
  return {
    ...description,
    availability: async () => ({ available: false, reason, hint: "heyvm create --backend-type libvirt" }),
    diagnose: async () => [],
    create: refuse,
    checkStart: refuse,
    start: refuse,
    openChannel: refuse,
    stop: async () => undefined,
    destroy: async () => undefined,
    status: async (id) => ({ id, state: "absent" }),
    list: async () => [],
    readConsole: async () => Buffer.alloc(0),
    watch: () => () => undefined,
    imagesInUse: async () => new Set(),
    prune: async () => [],
    close: async () => undefined,
  };
}
