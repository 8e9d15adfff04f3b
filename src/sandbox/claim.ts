/** Makes a sandbox of a machine that waits in the warm pool. */
import { timeoutSignal } from "../core/deadline.ts";
import { inStep } from "../core/step.ts";
import { isRenamable } from "../backends/abilities.ts";
import { AbortedError, HeyvmError, messageOf } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import { identifyAgain, isReachableBySsh, makeHostKeys } from "./guest-identity.ts";
import { putToUse } from "./guest-setup.ts";
import { machineSpecOf } from "./machine.ts";
import { enterService, provisioningRecord, undo, wholly } from "./making.ts";
import type { Progress } from "./progress.ts";
import type { SandboxSpec } from "./record.ts";
import type { LiveSandbox, NameReservation } from "./registry.ts";
import type { CreateRequest } from "./shape.ts";
import { reserveNames, type Wanted } from "./wanted.ts";
import type { WarmMachine } from "./warm-pool.ts";

/** A guest that runs answers in far less, also an emulated one on a busy host; without it a clone is made meanwhile. */
const answerTimeoutMs = 3000;
const renameTimeoutMs = 30_000;
const undoTimeoutMs = 120_000;

/** `undefined`: nothing waits that is what was asked for, and a machine has to be made. */
export async function claimWarmMachine(
  context: SandboxContext,
  request: CreateRequest,
  wanted: Wanted,
  progress: Progress,
): Promise<LiveSandbox | undefined> {
  const { pool } = context;
  if (wanted.boot !== undefined) return undefined;
  const machine = pool.find(({ backend, sandbox }) => {
    return backend === wanted.backend && fits(sandbox.record.spec, wanted.spec);
  });
  if (machine === undefined) return undefined;
  const names = reserveNames(context, machine.id, request);
  try {
    return await pool.claim(machine, async () => {
      const whole = { ...progress, signal: AbortSignal.any([progress.signal, context.shutdown]) };
      if (!(await wake(context, machine, names, whole))) return undefined;
      return await become(context, machine, wanted, names, progress);
    });
  } finally {
    names.release();
  }
}

/** Everything that cannot be changed of a machine that runs. Mounts and a network are never there. */
function fits(warm: SandboxSpec, wanted: Wanted["spec"]): boolean {
  return (
    warm.uri === wanted.uri &&
    warm.imageReference === wanted.imageReference &&
    warm.type === wanted.type &&
    warm.cpus === wanted.cpus &&
    warm.memoryBytes === wanted.memoryBytes &&
    warm.diskBytes === wanted.diskBytes &&
    wanted.mounts.length === 0 &&
    !wanted.network
  );
}

/**
 * Whether the guest answers and is of the image that the reference stands for now. It gets its host name, the right time
 * (it may have waited for hours) and fresh entropy; asked for at the same time as the image, because it is what takes long.
 */
async function wake(
  context: SandboxContext,
  machine: WarmMachine,
  { slug }: NameReservation,
  progress: Progress,
): Promise<boolean> {
  const { signal } = progress;
  const { id, sandbox, backend, agent } = machine;
  const { imageReference, image } = sandbox.record.spec;
  const resolving = async (): Promise<string | undefined> =>
    imageReference === undefined
      ? undefined
      : (await context.images.resolve(imageReference, progress)).fingerprint;
  return await inStep(progress, { id: "warm", title: "Taking a warm machine" }, async () => {
    try {
      const identifying = identifyAgain(agent, slug, { signal, timeoutMs: answerTimeoutMs });
      const [fingerprint] = await Promise.all([resolving(), identifying]);
      if (fingerprint === image?.fingerprint) return true;
      throw new HeyvmError("wrong_state", `${imageReference} is another image by now`);
    } catch (error) {
      context.log.warn({ id, reason: messageOf(error) }, "a warm machine cannot be used");
      if (!signal.aborted) return false;
      await sandbox.lock.run("removing a warm machine", async () => {
        await undo(context, sandbox, backend, undoTimeoutMs);
      });
      throw new AbortedError("taking a warm machine", error);
    }
  });
}

/** From here on it is a sandbox that is made, and ends as any other when that fails. */
async function become(
  context: SandboxContext,
  { sandbox, backend, agent, started }: WarmMachine,
  { spec, warnings }: Wanted,
  { name, slug }: NameReservation,
  progress: Progress,
): Promise<LiveSandbox> {
  const { id, spec: before, warnings: earlier } = sandbox.record;
  sandbox.record = provisioningRecord(id, { ...spec, name, slug, image: before.image }, [
    ...warnings,
    ...earlier,
  ]);
  sandbox.warm = false;
  await wholly(context, sandbox, backend, progress, async (progress) => {
    const { signal } = progress;
    for (const warning of [...earlier, ...started.warnings]) progress.onWarning(warning);
    if (spec.workingDirectory !== before.workingDirectory) {
      await agent.files.makeDirectory(spec.workingDirectory, { recursive: true, signal });
    }
    if (isReachableBySsh(sandbox.record.spec)) void makeHostKeys(context, sandbox, agent);
    await putToUse(sandbox, agent, progress, true);
    signal.throwIfAborted();
    await enterService(context, sandbox, agent, started);
  });
  void rename(context, sandbox, backend);
  return sandbox;
}

/** Nobody waits for what only other tools show. */
async function rename(
  context: SandboxContext,
  { record }: LiveSandbox,
  backend: WarmMachine["backend"],
): Promise<void> {
  if (!isRenamable(backend)) return;
  try {
    await backend.rename(machineSpecOf(record), timeoutSignal(renameTimeoutMs));
  } catch (error) {
    context.log.info({ id: record.id, reason: messageOf(error) }, "a claimed machine kept its old title");
  }
}
