/** Makes a sandbox, whole or not at all. */
import { AbortedError, messageOf, toHeyvmError } from "../errors/index.ts";
import type { Backend } from "../backends/backend.ts";
import { change, disconnect } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { setUpGuest } from "./guest-setup.ts";
import { newSandboxId } from "./ids.ts";
import { machineSession, machineSpecOf } from "./machine.ts";
import { checkName, checkSlug, slugOf } from "./names.ts";
import { inStep, type Progress } from "./progress.ts";
import { recordVersion, type SandboxRecord } from "./record.ts";
import type { LiveSandbox, NameReservation } from "./registry.ts";
import { type CreateRequest, resolveSpec } from "./spec.ts";

/** Undoing must end, also when the backend hangs. */
const undoTimeoutMs = 120_000;

/** On any failure, and when the signal aborts, nothing is left of the sandbox. */
export async function createSandbox(
  context: SandboxContext,
  request: CreateRequest,
  progress: Progress,
): Promise<LiveSandbox> {
  const id = newSandboxId();
  const names = reserveNames(context, id, request);
  try {
    const { settings } = context;
    const backend = await context.backends.getAvailable(
      request.backend ?? settings.backend_type,
      request.uri,
      progress.signal,
    );
    const defaults = {
      image: settings.image,
      cpus: settings.cpus,
      memoryBytes: settings.memory,
      ttlSeconds: settings.ttl_seconds,
    };
    const { spec, warnings } = await resolveSpec(
      { ...request, uri: context.backends.uriFor(backend.name, request.uri) },
      { name: names.name, slug: names.slug },
      backend,
      defaults,
      context.state,
    );
    const record: SandboxRecord = {
      version: recordVersion,
      id,
      status: "provisioning",
      removing: false,
      spec,
      createdAtMs: Date.now(),
      startedAtMs: null,
      expiresAtMs: null,
      warnings,
    };
    for (const warning of warnings) progress.onWarning(warning);
    await context.records.create(record);
    return await provision(context, record, backend, progress, names);
  } finally {
    names.release();
  }
}

async function provision(
  context: SandboxContext,
  record: SandboxRecord,
  backend: Backend,
  progress: Progress,
  names: NameReservation,
): Promise<LiveSandbox> {
  const session = machineSession(context, record.id, async () => await Promise.resolve(backend));
  const sandbox = context.registry.add(record, session);
  names.release();
  const creating = new AbortController();
  sandbox.creating = creating;
  progress.onAccepted?.(record.id);
  const signal = AbortSignal.any([progress.signal, creating.signal, context.shutdown]);
  return await sandbox.lock.run("creating the sandbox", async () => {
    try {
      await build(context, sandbox, backend, { ...progress, signal });
      return sandbox;
    } catch (error) {
      await undo(context, sandbox, backend);
      throw signal.aborted ? new AbortedError(`creating sandbox ${record.spec.name}`, error) : error;
    } finally {
      sandbox.creating = undefined;
    }
  });
}

async function build(
  context: SandboxContext,
  sandbox: LiveSandbox,
  backend: Backend,
  progress: Progress,
): Promise<void> {
  const { imageReference } = sandbox.record.spec;
  if (imageReference !== undefined) {
    const image = await inStep(
      progress,
      { id: "image", title: `Looking for image ${imageReference}` },
      async () => await context.images.resolve(imageReference, progress),
    );
    await change(context, sandbox, { spec: { ...sandbox.record.spec, image } });
  }
  const started = await inStep(
    progress,
    { id: "create", title: `Creating the machine (${backend.name})` },
    async () => await backend.create(machineSpecOf(sandbox.record), progress),
  );
  for (const warning of started.warnings) progress.onWarning(warning);
  await setUpGuest(context, sandbox, started, progress, true);
  progress.signal.throwIfAborted();
  const { spec, id, warnings } = sandbox.record;
  const nowMs = Date.now();
  const expiresAtMs = spec.ttlSeconds === null ? null : nowMs + spec.ttlSeconds * 1000;
  await change(context, sandbox, {
    status: "running",
    startedAtMs: nowMs,
    expiresAtMs,
    warnings: [...warnings, ...started.warnings],
  });
  if (expiresAtMs !== null) context.deadlines.arm(id, expiresAtMs);
}

async function undo(context: SandboxContext, sandbox: LiveSandbox, backend: Backend): Promise<void> {
  const { id } = sandbox.record;
  try {
    await disconnect(sandbox);
    await backend.destroy(id, AbortSignal.timeout(undoTimeoutMs));
    await context.records.remove(id);
    context.registry.delete(id);
  } catch (error) {
    const reason = toHeyvmError(error).message;
    context.log.error({ id, reason }, "a failed create could not be undone");
    // Kept in sight, so that it can be removed later: now by the user, or at the daemon's next start.
    const errorMessage = `its create failed and what was made could not be removed: ${reason}`;
    await change(context, sandbox, { status: "failed", removing: true, errorMessage }).catch(
      (cause: unknown) => {
        context.log.error({ id, reason: messageOf(cause) }, "nor could that be written down");
      },
    );
  }
}

function reserveNames(context: SandboxContext, id: string, request: CreateRequest): NameReservation {
  const name = request.name ?? `sandbox-${id.slice("sb-".length)}`;
  checkName(name);
  const slug = request.slug ?? slugOf(name);
  checkSlug(slug);
  return context.registry.reserve({ name, slug, slugGiven: request.slug !== undefined });
}
