/** What is shown of a sandbox: its record, and how it is doing right now. */
import type { GuestStatistics } from "../agent/types.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord, SandboxStatus } from "./record.ts";
import { refresh } from "./reconcile.ts";
import { type LiveSandbox, statusOf } from "./registry.ts";
import { needsTransition } from "./states.ts";

export interface SandboxView {
  record: SandboxRecord;
  status: SandboxStatus;
  errorMessage: string | undefined;
  warnings: readonly string[];
  uptimeSeconds: number | undefined;
  /** Per cent of the sandbox's CPUs. */
  cpuUsagePercent: number | undefined;
  memoryUsedBytes: number | undefined;
}

/** Whoever asks for everything about one must not wait for a guest that has hung itself up. */
const glanceTimeoutMs = 1500;
const statisticsTimeoutMs = 10_000;

/** Without a question to the guest. Never fails: what cannot be known is absent. */
export async function viewSandbox(context: SandboxContext, sandbox: LiveSandbox): Promise<SandboxView> {
  if (sandbox.unreachable !== undefined) await refresh(context, sandbox);
  return viewOf(sandbox, undefined);
}

/** With what the guest tells of its use of CPU and memory, if it answers soon. Never fails. */
export async function viewWithUsage(context: SandboxContext, sandbox: LiveSandbox): Promise<SandboxView> {
  if (sandbox.unreachable !== undefined) await refresh(context, sandbox);
  const signal = AbortSignal.timeout(glanceTimeoutMs);
  const glance =
    statusOf(sandbox) === "running"
      ? await takeStatistics(sandbox, signal).catch(() => undefined)
      : undefined;
  return viewOf(sandbox, glance);
}

function viewOf(
  sandbox: LiveSandbox,
  glance: Awaited<ReturnType<typeof takeStatistics>> | undefined,
): SandboxView {
  const status = statusOf(sandbox);
  const { record } = sandbox;
  return {
    record,
    status,
    errorMessage: sandbox.unreachable ?? record.errorMessage,
    warnings: [...record.warnings, ...sandbox.notices],
    uptimeSeconds: record.startedAtMs === null ? undefined : secondsSince(record.startedAtMs),
    cpuUsagePercent: glance?.cpuUsagePercent,
    memoryUsedBytes: glance && glance.guest.memoryTotalBytes - glance.guest.memoryAvailableBytes,
  };
}

/** The guest's own numbers, not to be trusted. The sandbox must be running. */
export async function sandboxStatistics(
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<{ guest: GuestStatistics; cpuUsagePercent: number | undefined }> {
  needsTransition(sandbox.record.id, statusOf(sandbox), "use");
  return await takeStatistics(sandbox, AbortSignal.any([signal, AbortSignal.timeout(statisticsTimeoutMs)]));
}

async function takeStatistics(
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<{ guest: GuestStatistics; cpuUsagePercent: number | undefined }> {
  const agent = await sandbox.session.get(signal);
  const guest = await agent.statistics({ signal });
  const now = { cpuSeconds: guest.cpuSeconds, atMs: Date.now() };
  const before = sandbox.cpuSample ?? { cpuSeconds: 0, atMs: now.atMs - guest.uptimeSeconds * 1000 };
  sandbox.cpuSample = now;
  const passedSeconds = (now.atMs - before.atMs) / 1000;
  if (passedSeconds <= 0) return { guest, cpuUsagePercent: undefined };
  const share = (now.cpuSeconds - before.cpuSeconds) / (passedSeconds * sandbox.record.spec.cpus);
  return { guest, cpuUsagePercent: Math.min(100, Math.max(0, Math.round(share * 1000) / 10)) };
}

function secondsSince(momentMs: number): number {
  return Math.max(0, Math.floor((Date.now() - momentMs) / 1000));
}
