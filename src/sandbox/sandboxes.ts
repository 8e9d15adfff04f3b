/** The sandboxes of one state folder, opened by the one daemon that owns it. */
import { timeoutSignal } from "../core/deadline.ts";
import type { ConnectAgent } from "../agent/types.ts";
import type { Backend, MachineStatus } from "../backends/backend.ts";
import type { StatePaths } from "../config/paths.ts";
import type { Settings } from "../config/settings.ts";
import type { ImageStore } from "../images/index.ts";
import { messageOf } from "../errors/index.ts";
import { createBackendRegistry, type OpenableBackend } from "./backend-registry.ts";
import { disconnect } from "./changes.ts";
import type { Log, SandboxContext } from "./context.ts";
import { createDeadlines } from "./deadlines.ts";
import { followReboot } from "./guest-reboot.ts";
import { createImageHolds } from "./image-holds.ts";
import { isHeld, MachineEndedError } from "./machine.ts";
import { reconcile, refresh } from "./reconcile.ts";
import { createRecordStore } from "./record-store.ts";
import { createSandboxRegistry } from "./registry.ts";
import { removeSandbox } from "./remove.ts";
import { lookAtWarmMachine, makeWarmMachine, removeWarmMachine } from "./warm-machine.ts";
import { createWarmPool, type WarmMachine } from "./warm-pool.ts";

export interface SandboxesOptions {
  state: StatePaths;
  settings: Settings;
  backends: readonly OpenableBackend[];
  images: ImageStore;
  connectAgent: ConnectAgent;
  log: Log;
  /** Told with every sandbox that is there already. */
  notice?: string | undefined;
}

export interface OpenSandboxes {
  context: SandboxContext;
  /** Whether something will have to be done that only a daemon can do: a deadline, a published port, a create, a warm pool. */
  needsDaemon(): boolean;
  /** Ends creates and starts that are under way; they undo themselves. */
  abortWork(): void;
  /** Ends all work and connections, and the warm pool; sandboxes' machines go on. */
  close(): Promise<void>;
}

const expiryTimeoutMs = 120_000;

/** Reads the records and makes them agree with what really exists. */
export async function openSandboxes(options: SandboxesOptions): Promise<OpenSandboxes> {
  const shutdown = new AbortController();
  const registry = createSandboxRegistry();
  const { log, state, settings } = options;
  const context: SandboxContext = {
    state,
    settings,
    images: options.images,
    imageHolds: createImageHolds(options.images),
    connectAgent: options.connectAgent,
    records: createRecordStore(state),
    registry,
    deadlines: createDeadlines((id) => void expire(context, id)),
    pool: createWarmPool<WarmMachine>({
      size: settings["pool.size"],
      make: async (signal) => await makeWarmMachine(context, signal),
      remove: async (machine) => await removeWarmMachine(context, machine),
      signal: shutdown.signal,
      onFailure: (error, retryMs) => {
        log.warn({ reason: messageOf(error), retry_ms: retryMs }, "a warm machine could not be made");
      },
    }),
    backends: createBackendRegistry({
      kinds: options.backends,
      defaultUri: settings["libvirt.uri"],
      permitted: settings.backends,
      onChange: (backend, status) => void machineChanged(context, backend, status),
    }),
    log,
    shutdown: shutdown.signal,
  };
  await reconcile(context);
  for (const sandbox of registry.all())
    sandbox.notices = options.notice === undefined ? [] : [options.notice];
  context.pool.start();
  return {
    context,
    needsDaemon: () =>
      settings["pool.size"] > 0 ||
      context.deadlines.pending > 0 ||
      registry
        .list()
        .some(
          ({ record, ports, reboots }) =>
            reboots > 0 ||
            record.status === "provisioning" ||
            (ports !== undefined && record.spec.openPorts.length > 0),
        ),
    abortWork: () => shutdown.abort(),
    async close() {
      shutdown.abort();
      context.deadlines.close();
      await context.pool.close();
      await Promise.all(
        registry.list().map(async (sandbox) => {
          await sandbox.lock.run("leaving", async () => await disconnect(sandbox, undefined));
        }),
      );
      await context.backends.close();
    },
  };
}

async function expire(context: SandboxContext, id: string): Promise<void> {
  const sandbox = context.registry.find(id);
  if (sandbox === undefined) return;
  const { removing } = sandbox.record;
  context.log.info({ id }, removing ? "its removal is tried again" : "time is up");
  try {
    await removeSandbox(context, sandbox, { signal: timeoutSignal(expiryTimeoutMs) });
  } catch (error) {
    context.log.error({ id, reason: messageOf(error) }, "could not be removed; tried again later");
    // Also when its lock could not be had.
    context.deadlines.armRetry(id);
  }
}

async function machineChanged(
  context: SandboxContext,
  backend: Backend,
  status: MachineStatus,
): Promise<void> {
  const { id } = status;
  const sandbox = context.registry.find(id);
  if (sandbox === undefined) return;
  if (sandbox.warm) {
    await lookAtWarmMachine(context, backend, status);
    return;
  }
  try {
    // Asked anew under the lock: an event may be old by then.
    // At once: what is connected later is the guest of the new boot.
    if (status.rebooted === true) await followReboot(context, sandbox);
    else {
      // Who has the lock may wait for just this guest.
      if (isHeld(status)) await sandbox.session.close(new MachineEndedError(status));
      await refresh(context, sandbox);
    }
  } catch (error) {
    context.log.error({ id, reason: messageOf(error) }, "a machine's change of state could not be recorded");
  }
}
