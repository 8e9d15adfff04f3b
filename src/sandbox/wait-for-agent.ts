/** The wait for a guest that boots. */
import type { AgentSession } from "../agent/types.ts";
import { HeyvmError } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import { consoleLines, type LogLine } from "./logs.ts";
import type { LiveSandbox } from "./registry.ts";

const consoleTimeoutMs = 10_000;
const consoleTailLines = 12;

/** The machine runs, and nobody in it answered. A new sandbox is gone after this, so the console's end goes along. */
export class GuestNeverReadyError extends HeyvmError {
  constructor(name: string, waitedMs: number, console: readonly LogLine[], cause: unknown) {
    const lines = console.map(({ message }) => message).filter((message) => message.trim() !== "");
    const tail = lines.length === 0 ? "it printed nothing" : `the end of its console:\n${lines.join("\n")}`;
    super(
      "guest_unresponsive",
      `the guest of ${name} did not start its agent within ${Math.round(waitedMs / 1000)} s; ${tail}`,
      {
        cause,
        hint: "slow, or stuck? HEYVM_BOOT_TIMEOUT_SECONDS (boot_timeout_seconds in the settings) gives it longer",
      },
    );
  }
}

/** The session, as soon as the agent answers. */
export async function waitForAgent(
  context: SandboxContext,
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<AgentSession> {
  const beganMs = Date.now();
  try {
    return await sandbox.session.get(signal);
  } catch (error) {
    if (!(error instanceof HeyvmError && error.code === "guest_unresponsive")) throw error;
    const waitedMs = Date.now() - beganMs;
    const lines = await consoleLines(context, sandbox, AbortSignal.timeout(consoleTimeoutMs)).catch(() => []);
    throw new GuestNeverReadyError(sandbox.record.spec.name, waitedMs, lines.slice(-consoleTailLines), error);
  }
}
