/** A sandbox's machine: what its backend is told, and how its agent is reached. */
import type { AgentSession } from "../agent/types.ts";
import type { Backend, MachineSpec } from "../backends/backend.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";
import type { LiveSandbox } from "./registry.ts";
import { createSessionHolder, type SessionHolder } from "./sessions.ts";

/** A machine that runs answers soon, or something is wrong with it; one that boots under emulation takes minutes. */
const connectTimeoutMs = { running: 30_000, booting: 300_000 } as const;

/** What the record says of the machine, in the backend's words. */
export function machineSpecOf({ id, spec }: SandboxRecord): MachineSpec {
  return {
    id,
    name: spec.name,
    type: spec.type,
    image: spec.image,
    cpus: spec.cpus,
    memoryBytes: spec.memoryBytes,
    diskBytes: spec.diskBytes,
    mounts: spec.mounts,
    network: spec.network,
  };
}

/** The backend of a sandbox. Throws when the program has no such backend (any more). */
export async function backendOf(context: SandboxContext, { record }: LiveSandbox): Promise<Backend> {
  return await context.backends.get(record.spec.backend, record.spec.uri);
}

/** A session that connects over the backend's channel when it is first needed. */
export function machineSession(
  context: SandboxContext,
  id: string,
  backend: () => Promise<Backend>,
): SessionHolder {
  return createSessionHolder(async (signal): Promise<AgentSession> => {
    const machine = await backend();
    const status = context.registry.find(id)?.record.status;
    return await context.connectAgent(async (opening) => await machine.openChannel(id, opening), {
      signal: AbortSignal.any([signal, context.shutdown]),
      timeoutMs: status === "running" ? connectTimeoutMs.running : connectTimeoutMs.booting,
    });
  });
}
