/** Boots a guest that is not yet a sandbox's, and says what was wrong when that fails. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { timeoutSignal } from "../../../core/deadline.ts";
import { connectAgent, type OpenPipe } from "../../../agent/index.ts";
import type { AgentSession } from "../../../agent/types.ts";
import { AbortedError, HeyvmError } from "../../../errors/index.ts";
import { watchBoot } from "../../boot-watch.ts";
import { lastLines, readConsoleLog } from "../domain/console-log.ts";
import type { DomainEnd } from "../domain/domain-end.ts";
import { AgentNeverAnsweredError, LibvirtUnreachableError, PreparationFailedError } from "../errors.ts";
import type { LibvirtHost } from "../host.ts";
import { agentChannel } from "../../guest/guest-service.ts";
import type { MachineNames } from "../names.ts";

export interface GuestBootOptions {
  /** Where the console's log of a failed boot is kept. */
  logFolder: string;
  /** How long the agent may take to answer; under emulation that is a minute. */
  agentTimeoutMs: number;
}

/** How long libvirt may be away while a guest boots: more than a restart takes. */
const libvirtAwayMs = 30_000;

class AgentSilentError extends Error {}

/** Starts the domain and works with its agent. `alive` is aborted when the guest has ended: nobody will answer any more. */
export async function bootGuest<T>(
  host: LibvirtHost,
  { domain, consoleLog }: Pick<MachineNames, "domain" | "consoleLog">,
  { agentTimeoutMs }: GuestBootOptions,
  end: DomainEnd,
  signal: AbortSignal,
  work: (agent: AgentSession, alive: AbortSignal) => Promise<T>,
): Promise<T> {
  const storage = await host.storage(signal);
  await host.domains.start(domain, signal);
  using boot = watchBoot(
    {
      readConsole: (maxBytes, signal) => readConsoleLog(storage, host.isLocal, consoleLog, maxBytes, signal),
      onReset: (listener) =>
        host.domains.onChange((changed, how) => {
          if (changed === domain && how === "rebooted") listener();
        }),
      reset: (signal) => host.domains.reset(domain, signal),
    },
    false,
  );
  // A guest that powers itself off or crashes will not answer any more.
  const alive = AbortSignal.any([signal, end.signal]);
  const gone = new AbortController();
  const open = watchingLibvirt((signal) => host.domains.openChannel(domain, agentChannel, signal), gone);
  let agent: AgentSession;
  try {
    agent = await connectAgent(open, {
      signal: AbortSignal.any([alive, gone.signal, boot.signal]),
      timeoutMs: agentTimeoutMs,
    });
    // From here on it may reset, and print what it likes.
    boot[Symbol.dispose]();
  } catch (error) {
    if (end.signal.aborted) throw end.signal.reason;
    if (gone.signal.aborted) throw gone.signal.reason;
    if (boot.signal.aborted) throw boot.signal.reason;
    throw new AgentSilentError("no answer", { cause: error });
  }
  try {
    return await work(agent, alive);
  } catch (error) {
    throw end.signal.aborted ? end.signal.reason : error;
  } finally {
    await agent.close();
  }
}

/** Waiting for a guest ends long before its own deadline when libvirt is away and nobody starts it again. */
function watchingLibvirt(open: OpenPipe, gone: AbortController): OpenPipe {
  let awaySinceMs: number | undefined;
  return async (signal) => {
    try {
      const pipe = await open(signal);
      awaySinceMs = undefined;
      return pipe;
    } catch (error) {
      if (!(error instanceof LibvirtUnreachableError)) throw error;
      awaySinceMs ??= performance.now();
      if (performance.now() - awaySinceMs > libvirtAwayMs) gone.abort(error);
      throw error;
    }
  };
}

/** The error of its cause, with the end of the guest's console, whose whole log is kept. */
export async function explainGuestFailure(
  host: LibvirtHost,
  consoleLog: string,
  key: string,
  what: string,
  options: GuestBootOptions,
  error: unknown,
  signal: AbortSignal,
): Promise<Error> {
  if (signal.aborted) return new AbortedError(what, error);
  if (error instanceof LibvirtUnreachableError) return error;
  const limit = timeoutSignal(10_000);
  const storage = await host.storage(limit);
  const log = await readConsoleLog(storage, host.isLocal, consoleLog, 65_536, limit).catch(() =>
    Buffer.alloc(0),
  );
  // A disk that is full for the log must not hide why there is one.
  const logPath = await keepLog(options.logFolder, key, log).catch(() => undefined);
  const lines = lastLines(log, 12);
  if (error instanceof AgentSilentError) {
    return new AgentNeverAnsweredError(what, options.agentTimeoutMs, logPath, lines, error.cause);
  }
  if (error instanceof HeyvmError && error.code === "disk_full") return error;
  const why = error instanceof Error ? error.message : String(error);
  return new PreparationFailedError(what, why, logPath, lines, error);
}

async function keepLog(folder: string, key: string, log: Buffer): Promise<string> {
  const path = join(folder, `preparing-${key}.log`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(path, log, { mode: 0o600 });
  return path;
}
