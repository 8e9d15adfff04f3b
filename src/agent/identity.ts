import type { GuestIdentity } from "./types.ts";

/** An identity as the agent takes it. */
export function identityParams(identity: GuestIdentity): Record<string, unknown> {
  return {
    hostname: identity.hostname,
    machine_id: identity.machineId,
    clock_ms: identity.clockMs,
    entropy: identity.entropy,
    boot_id: identity.bootId,
    ssh_host_keys: identity.sshHostKeys,
  };
}
