/** Folders that guests see of which this state folder's records do not tell. */
import { timeoutSignal } from "../core/deadline.ts";
import { isMountTeller, type MountedMachine } from "../backends/abilities.ts";
import { AbortedError, HeyvmError, messageOf } from "../errors/index.ts";
import type { BackendRegistry } from "./backend-registry.ts";
import type { SandboxContext } from "./context.ts";
import type { MountHolder } from "./replaceable-mounts.ts";

const askTimeoutMs = 15_000;

type Surroundings = Pick<SandboxContext, "registry" | "shutdown"> & {
  backends: Pick<BackendRegistry, "opened">;
};

/** Which folders a sandbox may write to cannot be known, so that any mount could lead through them. */
class MountsUnknownError extends HeyvmError {
  constructor(id: string, backend: string, cause: unknown) {
    super(
      "permission_denied",
      `cannot mount anything: the record of sandbox ${id} is damaged, and backend ${backend}, which may run it, does not tell what it may write to: ${messageOf(cause)}`,
      {
        cause,
        hint: `heyvm rm ${id}; if ${backend} is gone for good: heyvm rm --forget ${id}`,
        details: { id, backend },
      },
    );
  }
}

/**
 * The mounts of machines that run for another state folder, or whose record is damaged, as their backends know them. One
 * that is off cannot be started from here, and holds nothing. Throws when a damaged one may run and cannot be asked for.
 */
export async function unrecordedMounts(
  { registry, backends, shutdown }: Surroundings,
  signal: AbortSignal,
): Promise<MountHolder[]> {
  const known = { has: (id: string): boolean => registry.find(id)?.damaged === false };
  const found = await Promise.all(
    backends.opened().map(async ({ backend }): Promise<MountedMachine[]> => {
      if (!isMountTeller(backend)) return [];
      try {
        return await backend.mountedMachines(
          known,
          AbortSignal.any([signal, shutdown, timeoutSignal(askTimeoutMs)]),
        );
      } catch (error) {
        // Nothing was learnt, and nobody waits for what is made of that.
        if (signal.aborted) throw new AbortedError("asking which folders guests see", error);
        // Others' sandboxes are not worth a refusal of all mounts: that backend may be one that nobody uses any more.
        const damaged = registry.all().find((sandbox) => sandbox.damaged);
        if (damaged === undefined) return [];
        throw new MountsUnknownError(damaged.record.id, backend.name, error);
      }
    }),
  );
  return found.flat().map((machine) => ({
    name: machine.isForeign ? machine.name : machine.id,
    mounts: machine.mounts,
    isElsewhere: machine.isForeign,
    remedy: remedyFor(machine, registry),
  }));
}

/** The state folder that made it may be gone, and prune leaves alone what does not say whose it is. */
function remedyFor(
  { id, name, isForeign, isPrunable, lastResort }: MountedMachine,
  registry: Pick<SandboxContext["registry"], "find">,
): string {
  if (isForeign) {
    const stop = `heyvm stop ${JSON.stringify(name)}`;
    return `stop that sandbox with the state folder that made it (MVM_DATA_DIR): ${stop}; if that folder is gone: ${lastResort}`;
  }
  if (registry.find(id) !== undefined) return `remove that sandbox: heyvm rm ${JSON.stringify(id)}`;
  if (!isPrunable) return `end that machine, which no sandbox has: ${lastResort}`;
  return `remove that machine, which no sandbox has: heyvm prune; if it is still there then: ${lastResort}`;
}
