/** Whether a sandbox's machine is a clone, of what, and how it becomes one. */
import { timeoutSignal } from "../../../core/deadline.ts";
import { inStep, type WorkContext } from "../../../core/step.ts";
import { firstLine, HeyvmError, toHeyvmError } from "../../../errors/index.ts";
import type { TemplateInfo, TemplateRequest } from "../../abilities.ts";
import type { CloneReport, MachineSpec, MakingContext, StartedMachine } from "../../backend.ts";
import { defineMachine, imageOf, type MachineDependencies, machineShapeOf } from "./machine-definition.ts";
import { machineNames } from "../names.ts";
import { closeNetwork } from "../network/network.ts";
import { templatesAreOff } from "../template/obstacle.ts";
import { launchClone, thawClone, tooManyMounts } from "../template/clone.ts";
import type { CloneWay, Way } from "../template/templates.ts";

/** How long undoing may take; it does not end with the signal that ended the work. */
const undoTimeoutMs = 60_000;

/** Machines cannot be cloned here, or nobody wants them to be. */
class NoTemplateError extends HeyvmError {
  constructor(reason: string) {
    super("unsupported", `there can be no template here: ${reason}`, {
      hint:
        reason === templatesAreOff
          ? "unset templates.budget and HEYVM_TEMPLATES_BUDGET: the default is 20G"
          : "sandboxes boot instead, which works everywhere; heyvm doctor tells more",
    });
  }
}

/** A template, or why the machine has to boot. */
export async function wayOf(
  dependencies: MachineDependencies,
  preparedDisk: string,
  spec: MachineSpec,
  context: MakingContext,
): Promise<Way> {
  if (context.boot !== undefined) return { template: undefined, reason: context.boot };
  const { templates } = dependencies;
  const { shape } = await machineShapeOf(dependencies, spec, context.signal);
  const reason =
    (await templates.obstacle(shape.architecture, context.signal)) ?? tooManyMounts(spec.mounts.length);
  if (reason !== undefined) return { template: undefined, reason };
  const image = imageOf(spec);
  return templates.wayFor({ image, type: spec.type, preparedDisk, shape }, context);
}

/** Makes the template that such machines are cloned from, if there is none. */
export async function buildTemplate(
  dependencies: MachineDependencies,
  request: TemplateRequest,
  context: WorkContext,
): Promise<TemplateInfo> {
  const { prepared, templates } = dependencies;
  const { image, type } = request;
  const { shape } = await machineShapeOf(dependencies, request, context.signal);
  const obstacle = await templates.obstacle(shape.architecture, context.signal);
  if (obstacle !== undefined) throw new NoTemplateError(obstacle);
  const preparedDisk = await prepared.ensure(image, type, context);
  const way = await templates.wayFor({ image, type, preparedDisk, shape }, context, { now: true });
  if (way.template === undefined) throw new NoTemplateError(way.reason);
  const { key } = way.template;
  const made = (await templates.list(context.signal)).find((candidate) => candidate.key === key);
  if (made !== undefined) return made;
  throw new HeyvmError("wrong_state", `template ${key} was removed as soon as it was made`);
}

/** A clone that runs; or why the machine has to boot after all. */
type Attempt =
  | { started: Omit<StartedMachine, "start">; report: CloneReport }
  /** Nothing of the clone is left but its domain. `report`: where its template may be the cause. */
  | { started: undefined; reason: string; report: CloneReport | undefined };

/** Makes the machine a clone, if that can be done. */
export async function tryClone(
  dependencies: MachineDependencies,
  spec: MachineSpec,
  { template, state, shape: machine, growth }: CloneWay,
  hasShell: boolean,
  context: WorkContext,
): Promise<Attempt> {
  const { signal } = context;
  const { host, templates, shells, turns, settings } = dependencies;
  const { domain, disk } = machineNames(spec.id);
  const { shape: asBooted, started } = await defineMachine(dependencies, spec, signal);
  const shape = { ...asBooted, ...machine };
  const mustAnswer = !templates.isProven(template);
  const clone = { shape, growth, disk, diskBytes: spec.diskBytes, template, state, mustAnswer };
  const undo = async (): Promise<void> => {
    const limit = timeoutSignal(undoTimeoutMs);
    await host.domains.powerOff(domain, limit);
    await (await host.storage(limit)).remove(disk, limit);
  };
  // With a full disk or without libvirt it cannot boot, either.
  const isFinal = (error: unknown): boolean =>
    signal.aborted || ["disk_full", "backend_unavailable"].includes(toHeyvmError(error).code);
  const report: CloneReport = {
    works: async () => {
      turns.end(spec.id);
      await templates.reportSuccess(template);
    },
    fails: (reason) => templates.reportFailure(template, reason, { hadWorked: !mustAnswer }),
  };
  let hasBegun = false;
  const thaw = async (): Promise<void> => {
    hasBegun = true;
    await thawClone(host, clone, settings.runtimeFolder, signal);
  };
  try {
    await inStep(context, { id: "machine", title: "Cloning the machine" }, async () => {
      if (hasShell) {
        try {
          const title = host.domains.setTitle(domain, shape.title, signal);
          await Promise.all([thaw(), title]);
          return;
        } catch (error) {
          // Another machine would not find another guest.
          const { code } = toHeyvmError(error);
          if (isFinal(error) || code === "guest_failed" || code === "guest_unresponsive") throw error;
          // It may have waited too long for something that this host no longer has: a new one tells.
          await undo();
          hasBegun = false;
        }
      }
      await launchClone(host, clone, signal);
      await thaw();
    });
    const { translationCacheBytes } = shape;
    const kind = { ...spec, imageReference: spec.image?.reference };
    shells.keep(kind, template, { ...machine, translationCacheBytes });
    return { started, report };
  } catch (error) {
    if (isFinal(error)) throw error;
    await undo();
    await closeNetwork(settings.runtimeFolder, spec.id);
    const reason = `a clone of its template did not start: ${firstLine(error)}`;
    return { started: undefined, reason, report: hasBegun ? report : undefined };
  }
}
