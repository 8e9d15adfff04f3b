/** What a create asks for, checked, before anything is made of it. */
import { isForehanded } from "../backends/abilities.ts";
import type { Backend } from "../backends/backend.ts";
import type { SandboxContext } from "./context.ts";
import { newSandboxId } from "./ids.ts";
import { checkName, checkSlug, slugOf } from "./names.ts";
import type { SandboxSpec } from "./record.ts";
import { mayRun, type NameReservation } from "./registry.ts";
import type { MountHolder } from "./replaceable-mounts.ts";
import type { CreateRequest } from "./shape.ts";
import { resolveSpec } from "./spec.ts";
import { unrecordedMounts } from "./unrecorded-mounts.ts";

export interface Wanted {
  backend: Backend;
  spec: Omit<SandboxSpec, "name" | "slug">;
  warnings: string[];
  /** Why its machine is made for it and boots, also where it could be a clone, or one that waits. */
  boot: string | undefined;
}

/** What `get` tells of it. */
const unwanted = "that was asked for, with --no-clone or clone: false";

/** The request with all that it leaves to the settings. Throws for what cannot be made here. */
export async function resolveRequest(
  context: SandboxContext,
  request: CreateRequest,
  signal: AbortSignal,
): Promise<Wanted> {
  const { settings, backends } = context;
  const name = request.backend ?? settings.backend_type;
  const backend = await backends.getAvailable(name, request.uri, signal);
  const defaults = {
    image: settings.image,
    cpus: settings.cpus,
    memoryBytes: settings.memory,
    ttlSeconds: settings.ttl_seconds,
  };
  const uri = backends.uriFor(backend.name, request.uri);
  const surroundings = {
    forbidden: [context.state.root],
    others: async () => [...(await unrecordedMounts(context, signal)), ...mountHolders(context)],
  };
  const resolved = await resolveSpec({ ...request, uri }, backend, defaults, surroundings);
  return { backend, ...resolved, boot: request.clone === false ? unwanted : undefined };
}

/** Every sandbox, whatever its state: it may be started again. What one that is off had open may be another folder by now. */
export function mountHolders({ registry }: SandboxContext): MountHolder[] {
  return registry.all().map((sandbox) => {
    const { name, mounts } = sandbox.record.spec;
    return {
      name,
      mounts: mayRun(sandbox) ? mounts : mounts.map((mount) => ({ ...mount, folder: undefined })),
    };
  });
}

/** The id of a sandbox to be. */
export function chooseId({ backend, spec, boot }: Wanted): string {
  const reserved = isForehanded(backend) && boot === undefined ? backend.reserveId(spec) : undefined;
  return reserved ?? newSandboxId();
}

/** What is wrong with the names by themselves is told before anything is asked of a backend. */
export function checkNames({ name, slug }: CreateRequest): void {
  if (name !== undefined) checkName(name);
  if (slug !== undefined) checkSlug(slug);
}

/** The name of a sandbox that was given none. */
export function nameFor(id: string): string {
  return `sandbox-${id.slice("sb-".length)}`;
}

export function reserveNames(context: SandboxContext, id: string, request: CreateRequest): NameReservation {
  const name = request.name ?? nameFor(id);
  const slug = request.slug ?? slugOf(name);
  checkSlug(slug);
  return context.registry.reserve({ name, slug, slugGiven: request.slug !== undefined });
}
