/** The wait for a guest that boots. */
import { timeoutSignal } from "../core/deadline.ts";
import type { AgentSession } from "../agent/types.ts";
import { GuestBootError } from "../backends/boot-watch.ts";
import { formatSize } from "../config/size.ts";
import { HeyvmError } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import { consoleLines, type LogLine } from "./logs.ts";
import type { SandboxRecord } from "./record.ts";
import type { LiveSandbox } from "./registry.ts";

const consoleTimeoutMs = 10_000;
const consoleTailLines = 12;
/** Any distribution boots with that. */
const ampleMemoryBytes = 512 * 2 ** 20;

/** The machine runs, and nobody in it answered. A new sandbox is gone after this, so the console's end goes along. */
export class GuestNeverReadyError extends HeyvmError {
  constructor(name: string, waitedMs: number, console: readonly LogLine[], cause: unknown) {
    super(
      "guest_unresponsive",
      `the guest of ${name} did not start its agent within ${Math.round(waitedMs / 1000)} s; ${consoleEnd(console)}`,
      {
        cause,
        hint: "slow, or stuck? HEYVM_BOOT_TIMEOUT_SECONDS (boot_timeout_seconds in the settings) gives it longer",
      },
    );
  }
}

/** It cannot come up: it said so on its console, or resets over and over. */
export class GuestBootFailedError extends HeyvmError {
  constructor({ spec }: SandboxRecord, console: readonly LogLine[], cause: GuestBootError) {
    super("guest_failed", `the guest of ${spec.name} ${cause.why}; ${consoleEnd(console)}`, {
      cause,
      hint:
        spec.memoryBytes < ampleMemoryBytes
          ? `${formatSize(spec.memoryBytes)} of memory may be too little for it: --memory 1G`
          : "check that the image boots in QEMU, from BIOS on x86_64",
    });
  }
}

function consoleEnd(console: readonly LogLine[]): string {
  const lines = console.map(({ message }) => message).filter((message) => message.trim() !== "");
  return lines.length === 0
    ? "it printed nothing"
    : `the end of its console:\n${lines.slice(-consoleTailLines).join("\n")}`;
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
    const cannotBoot = error instanceof GuestBootError;
    if (!cannotBoot && !(error instanceof HeyvmError && error.code === "guest_unresponsive")) throw error;
    const waitedMs = Date.now() - beganMs;
    const lines = await consoleLines(context, sandbox, timeoutSignal(consoleTimeoutMs)).catch(() => []);
    throw cannotBoot
      ? new GuestBootFailedError(sandbox.record, lines, error)
      : new GuestNeverReadyError(sandbox.record.spec.name, waitedMs, lines, error);
  }
}
