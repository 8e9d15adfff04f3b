/** What is shown of a sandbox: its record, and how it is doing right now. */
import { timeoutSignal } from "../core/deadline.ts";
import type { GuestStatistics } from "../agent/types.ts";
import { type HostMemory, isMemoryTeller } from "../backends/abilities.ts";
import type { SandboxContext } from "./context.ts";
import { backendOf } from "./machine.ts";
import { refresh } from "./reconcile.ts";
import { type LiveSandbox, standingOf, statusOf } from "./registry.ts";
import { type SandboxDescription, shownOf } from "./shape.ts";
import { needsTransition } from "./states.ts";

interface Usage {
  statistics?: Awaited<ReturnType<typeof takeStatistics>> | undefined;
  hostMemory?: HostMemory | undefined;
}

/** Whoever asks for everything about one must not wait for a guest that has hung itself up. */
const glanceTimeoutMs = 1500;
const statisticsTimeoutMs = 10_000;

/** Without a look at its use of CPU and memory. Never fails: what cannot be known is absent. */
export async function viewSandbox(
  context: SandboxContext,
  sandbox: LiveSandbox,
): Promise<SandboxDescription> {
  if (sandbox.unreachable !== undefined) await refresh(context, sandbox);
  return viewOf(sandbox, {});
}

/** With what guest and host tell of its use of CPU and memory, if they answer soon. Never fails. */
export async function viewWithUsage(
  context: SandboxContext,
  sandbox: LiveSandbox,
): Promise<SandboxDescription> {
  if (sandbox.unreachable !== undefined) await refresh(context, sandbox);
  const signal = timeoutSignal(glanceTimeoutMs);
  const [statistics, hostMemory] = await Promise.all([
    statusOf(sandbox) === "running" ? takeStatistics(sandbox, signal).catch(() => undefined) : undefined,
    // Also of one that is paused.
    lookAtHost(context, sandbox, signal).catch(() => undefined),
  ]);
  return viewOf(sandbox, { statistics, hostMemory });
}

function viewOf(sandbox: LiveSandbox, { statistics, hostMemory }: Usage): SandboxDescription {
  const { record } = sandbox;
  const { spec } = record;
  return shownOf({
    ...spec,
    id: record.id,
    status: statusOf(sandbox),
    image: spec.imageReference ?? null,
    diskBytes: spec.diskBytes ?? null,
    mounts: spec.mounts.map(({ hostPath, guestPath, readOnly }) => ({
      hostPath,
      sandboxPath: guestPath,
      readOnly,
    })),
    needsNetwork: spec.network,
    createdAt: new Date(record.createdAtMs).toISOString(),
    startedAt: isoTime(record.startedAtMs),
    expiresAt: isoTime(record.expiresAtMs),
    uptimeSeconds: record.startedAtMs === null ? null : secondsSince(record.startedAtMs),
    cpuUsage: statistics?.cpuUsagePercent ?? null,
    memoryUsageBytes:
      statistics === undefined
        ? null
        : statistics.guest.memoryTotalBytes - statistics.guest.memoryAvailableBytes,
    hostMemory: hostMemory ?? null,
    openPorts: spec.openPorts.map((port) => (port.guestPort === port.hostPort ? port.guestPort : port)),
    warnings: [...record.warnings, ...sandbox.notices],
    startMode: record.start?.how,
    startReason: record.start?.reason,
    errorMessage: sandbox.unreachable ?? record.errorMessage,
  });
}

function isoTime(momentMs: number | null): string | null {
  return momentMs === null ? null : new Date(momentMs).toISOString();
}

async function lookAtHost(
  context: SandboxContext,
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<HostMemory | undefined> {
  const backend = await backendOf(context, sandbox);
  return isMemoryTeller(backend) ? await backend.hostMemory(sandbox.record.id, signal) : undefined;
}

/** The guest's own numbers, not to be trusted. The sandbox must be running. */
export async function sandboxStatistics(
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<{ guest: GuestStatistics; cpuUsagePercent: number | undefined }> {
  needsTransition(standingOf(sandbox), "use");
  return await takeStatistics(sandbox, AbortSignal.any([signal, timeoutSignal(statisticsTimeoutMs)]));
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
