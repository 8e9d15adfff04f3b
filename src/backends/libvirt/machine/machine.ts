/** Making, starting, ending and removing one sandbox's machine. */
import { timeoutSignal } from "../../../core/deadline.ts";
import { inStep, type WorkContext } from "../../../core/step.ts";
import { AbortedError, HeyvmError, InvalidArgumentError } from "../../../errors/index.ts";
import type { MachineSpec, MakingContext, StartedMachine } from "../../backend.ts";
import { tryClone, wayOf } from "./cloning.ts";
import { checkHost, defineMachine, imageOf, type MachineDependencies } from "./machine-definition.ts";
import { machineNames, machineOfVolume } from "../names.ts";
import { closeNetwork } from "../network/network.ts";
import { isForeignMachine, refuseForeignMachine } from "./ownership.ts";
import { templatesAreOff } from "../template/obstacle.ts";
import type { Way } from "../template/templates.ts";

/** How long undoing may take; it does not end with the signal that ended the work. */
const undoTimeoutMs = 60_000;

/** Makes and starts a machine; on failure nothing of it is left. */
export async function createMachine(
  dependencies: MachineDependencies,
  spec: MachineSpec,
  context: MakingContext,
): Promise<StartedMachine> {
  const { host, prepared, turns } = dependencies;
  const { signal } = context;
  const image = imageOf(spec);
  if (spec.diskBytes !== undefined && spec.diskBytes < image.virtualSizeBytes) {
    const least = Math.ceil(image.virtualSizeBytes / 1024 ** 2);
    throw new InvalidArgumentError(
      "disk",
      `a disk of ${spec.diskBytes} bytes is smaller than ${image.reference}`,
      {
        hint: `ask for --disk ${least}M or more, or leave --disk out`,
      },
    );
  }
  await checkHost(host, spec, signal);
  const preparedDisk = await prepared.ensure(image, spec.type, context);
  const way = await wayOf(dependencies, preparedDisk, spec, context);
  if (way.template !== undefined) await turns.take(spec.id, context);
  try {
    return await makeMachine(dependencies, spec, { preparedDisk, way }, context);
  } catch (error) {
    turns.end(spec.id);
    throw error;
  }
}

async function makeMachine(
  dependencies: MachineDependencies,
  spec: MachineSpec,
  { preparedDisk, way }: { preparedDisk: string; way: Way },
  context: MakingContext,
): Promise<StartedMachine> {
  const { host, shells, turns } = dependencies;
  const { signal } = context;
  const storage = await host.storage(signal);
  const names = machineNames(spec.id);
  await context.lastLook?.();
  if (signal.aborted) throw new AbortedError(`creating ${spec.id}`, signal.reason);
  const hasShell = await shells.claim(spec.id, way.template);
  if (!hasShell && (await host.domains.status(names.domain, signal)) !== undefined) {
    // Another state folder's, perhaps: nothing to undo here.
    throw new HeyvmError("wrong_state", `a machine ${names.domain} exists already at ${host.uri}`, {
      hint: "create the sandbox again: it gets another id",
    });
  }
  try {
    const clone =
      way.template === undefined
        ? { started: undefined, reason: way.reason, report: undefined }
        : await tryClone(dependencies, spec, way, hasShell, context);
    if (clone.started !== undefined) {
      return { ...clone.started, start: { how: "cloned" }, clone: clone.report };
    }
    turns.end(spec.id);
    // The domain first: should we die now, its metadata tells whose the disk is.
    const { started } = await defineMachine(dependencies, spec, signal);
    const { reason } = clone;
    const title = `Starting the machine${reason === templatesAreOff ? "" : ` (it boots: ${reason})`}`;
    await inStep(context, { id: "machine", title }, async () => {
      const backing = { path: storage.path(preparedDisk), format: "qcow2" as const };
      await storage.createOverlay(
        names.disk,
        backing,
        spec.diskBytes ?? imageOf(spec).virtualSizeBytes,
        signal,
      );
      await host.domains.start(names.domain, signal);
    });
    await clone.report?.fails(reason);
    return { ...started, start: { how: "booted", reason } };
  } catch (error) {
    const undo = destroyMachine(dependencies, spec.id, timeoutSignal(undoTimeoutMs));
    // What is left is found by prune; why the create failed would be lost.
    await undo.catch(() => undefined);
    if (signal.aborted) throw new AbortedError(`creating ${spec.id}`, error);
    throw error;
  }
}

/** Starts a machine that is off. */
export async function startMachine(
  dependencies: MachineDependencies,
  spec: MachineSpec,
  context: WorkContext,
): Promise<StartedMachine> {
  const { signal } = context;
  const { host, settings } = dependencies;
  const { domain } = machineNames(spec.id);
  await refuseForeignMachine(host, settings, spec.id, signal);
  await checkHost(host, spec, signal);
  try {
    return await inStep(context, { id: "machine", title: "Starting the machine" }, async () => {
      // Defined anew: mounts may have been added, KVM may have come or gone.
      const { started } = await defineMachine(dependencies, spec, signal);
      await host.domains.start(domain, signal);
      return { ...started, start: { how: "booted" } };
    });
  } catch (error) {
    const undo = timeoutSignal(undoTimeoutMs);
    await host.domains.powerOff(domain, undo).catch(() => undefined);
    await closeNetwork(settings.runtimeFolder, spec.id);
    if (signal.aborted) throw new AbortedError(`starting ${spec.id}`, error);
    throw error;
  }
}

/** Ends a machine; its disk stays. Idempotent, and nothing to do for one that is another state folder's. */
export async function stopMachine(
  { host, settings }: MachineDependencies,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  if (await isForeignMachine(host, settings, id, signal)) return;
  await host.domains.powerOff(machineNames(id).domain, signal);
  await closeNetwork(settings.runtimeFolder, id);
}

/** Removes a machine with everything that is its own. Idempotent, and nothing to do for one that is another state folder's. */
export async function destroyMachine(
  { host, settings, turns }: MachineDependencies,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  turns.end(id);
  const { domain } = machineNames(id);
  if (await isForeignMachine(host, settings, id, signal)) return;
  await host.domains.kill(domain, signal);
  await closeNetwork(settings.runtimeFolder, id);
  const storage = await host.storage(signal);
  for (const volume of await storage.list(signal)) {
    if (machineOfVolume(volume) === id) await storage.remove(volume, signal);
  }
  // Last: as long as anything is left, the domain tells of it.
  await host.domains.remove(domain, signal);
}
