/** Templates: the machines that were booted once and frozen, of which sandboxes are clones. */
import { inStep } from "../core/step.ts";
import { isTemplateKeeper, type TemplateInfo, type TemplateKeeper } from "../backends/abilities.ts";
import type { Backend } from "../backends/backend.ts";
import { HeyvmError, InvalidArgumentError } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import { resolveSize } from "./machine-size.ts";
import type { Progress } from "./progress.ts";
import type { TemplateBuildRequest } from "./shape.ts";

/** A template, and the backend that has it. */
export interface TemplateView extends TemplateInfo {
  backend: string;
  uri: string | undefined;
}

interface Kept {
  view: TemplateView;
  keeper: TemplateKeeper;
}

const keyPattern = /^[0-9a-f]{4,16}$/;

/** No template has this key. */
export class TemplateNotFoundError extends HeyvmError {
  constructor(reference: string) {
    super("template_not_found", `there is no template ${JSON.stringify(reference)}`, {
      hint: "heyvm templates list",
      details: { reference },
    });
  }
}

/** Machines stand on the template's disk and memory: without them they are nothing. */
export class TemplateInUseError extends HeyvmError {
  constructor({ key, reference }: TemplateInfo) {
    super("template_in_use", `template ${key} (${reference}) is in use by a sandbox`, {
      hint: "remove its sandboxes first: heyvm list --all, then heyvm rm ID",
      details: { key },
    });
  }
}

/** Asks all backends that can be asked now. */
export async function listTemplates(context: SandboxContext, signal: AbortSignal): Promise<TemplateView[]> {
  return (await everyTemplate(context, signal)).map(({ view }) => view);
}

/** Makes the template of such machines now, when there is none, so that no create has to. */
export async function buildTemplate(
  context: SandboxContext,
  request: TemplateBuildRequest,
  progress: Progress,
): Promise<TemplateView> {
  const { settings, backends } = context;
  const name = request.backend ?? settings.backend_type;
  const backend = await backends.getAvailable(name, request.uri, progress.signal);
  const keeper = asTemplateKeeper(backend, await backends.all());
  const reference = request.image ?? settings.image;
  const defaults = { cpus: settings.cpus, memoryBytes: settings.memory };
  const { cpus, memoryBytes, warnings } = resolveSize(request, defaults, reference);
  for (const warning of warnings) progress.onWarning(warning);
  const whole = { ...progress, signal: AbortSignal.any([progress.signal, context.shutdown]) };
  using _hold = context.pool.hold();
  using held = await inStep(
    whole,
    { id: "image", title: `Looking for image ${reference}` },
    async () => await context.imageHolds.take(reference, whole),
  );
  const type = request.type ?? "shell";
  const { image } = held;
  const template = await keeper.buildTemplate({ image, type, cpus, memoryBytes }, whole);
  return { ...template, backend: backend.name, uri: backends.uriFor(backend.name, request.uri) };
}

/** By its key or the first digits of it. Throws `template_not_found`, `ambiguous_reference` or `template_in_use`. */
export async function removeTemplate(
  context: SandboxContext,
  reference: string,
  signal: AbortSignal,
): Promise<string> {
  const { view, keeper } = await resolveTemplate(context, reference, signal);
  const outcome = await keeper.removeTemplate(view.key, signal);
  if (outcome === "in_use") throw new TemplateInUseError(view);
  return view.key;
}

/** Removes all that no machine stands on; returns in words what went. */
export async function pruneTemplates(context: SandboxContext, signal: AbortSignal): Promise<string[]> {
  const removed: string[] = [];
  for (const { view, keeper } of await everyTemplate(context, signal)) {
    const { key, reference, type } = view;
    if ((await keeper.removeTemplate(key, signal)) === "removed") {
      removed.push(`template ${key} (${reference}, ${type})`);
    }
  }
  return removed;
}

async function resolveTemplate(
  context: SandboxContext,
  reference: string,
  signal: AbortSignal,
): Promise<Kept> {
  if (!keyPattern.test(reference)) {
    throw new InvalidArgumentError("key", `${JSON.stringify(reference.slice(0, 80))} is no template's key`, {
      hint: "give its first digits, four at least: heyvm templates list",
    });
  }
  const found = (await everyTemplate(context, signal)).filter(({ view }) => view.key.startsWith(reference));
  const [first, second] = found;
  if (first === undefined) throw new TemplateNotFoundError(reference);
  if (second === undefined) return first;
  const keys = found.map(({ view }) => view.key);
  throw new HeyvmError("ambiguous_reference", `${reference} may mean any of ${keys.join(", ")}`, {
    hint: "give more of the key",
    details: { reference, keys },
  });
}

async function everyTemplate({ backends }: SandboxContext, signal: AbortSignal): Promise<Kept[]> {
  await backends.all();
  const found = await Promise.all(
    backends.opened().map(async ({ backend, uri }) => {
      if (!isTemplateKeeper(backend) || !(await backend.availability(signal)).available) return [];
      const templates = await backend.listTemplates(signal);
      return templates.map((template) => ({
        view: { ...template, backend: backend.name, uri },
        keeper: backend,
      }));
    }),
  );
  return found.flat();
}

function asTemplateKeeper(backend: Backend, others: readonly Backend[]): TemplateKeeper {
  if (isTemplateKeeper(backend)) return backend;
  const able = others.filter(isTemplateKeeper).map(({ name }) => name);
  throw new HeyvmError("unsupported", `backend ${backend.name} has no templates`, {
    hint: able[0] === undefined ? undefined : `heyvm templates build --backend-type ${able[0]}`,
    details: { backend: backend.name, able },
  });
}
