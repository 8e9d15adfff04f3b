/** Which types' runtimes a guest has. */
import type { AgentSession } from "../../../agent/types.ts";
import { type SandboxType, sandboxTypes } from "../../../config/machine-kinds.ts";
import { runInGuest } from "./guest-command.ts";
import { probeScripts } from "../../guest/guest-scripts.ts";

const probeTimeoutMs = 180_000;

/** Tries each type's runtime. Throws, with what the guest said, when the required one does not work. */
export async function providedTypes(
  agent: AgentSession,
  signal: AbortSignal,
  { required }: { required?: SandboxType } = {},
): Promise<SandboxType[]> {
  const provided: SandboxType[] = [];
  for (const type of sandboxTypes) {
    const check = type === required;
    const { code } = await runInGuest(agent, probeScripts[type], probeTimeoutMs, signal, { check });
    if (code === 0) provided.push(type);
  }
  return provided;
}
