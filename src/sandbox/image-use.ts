/** What stands on images, as far as it can be known now. */
import type { Backend } from "../backends/backend.ts";
import { HeyvmError, shellQuoted, toHeyvmError } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";

/** A backend that has sandboxes, and maybe prepared disks, and cannot be asked. */
interface SilentBackend {
  name: string;
  /** libvirt connection, of a backend that has one. */
  uri: string | undefined;
  /** Names of sandboxes that are there. */
  sandboxes: string[];
  reason: string;
  hint: string | undefined;
}

/** Whether a disk stands on an image cannot be known: none may go then. */
export class ImageUseUnknownError extends HeyvmError {
  constructor({ name, uri, sandboxes, reason, hint }: SilentBackend) {
    const where = uri === undefined ? name : `${name} (${uri})`;
    const shown = sandboxes.slice(0, 3).join(", ") + (sandboxes.length > 3 ? ", …" : "");
    super(
      "backend_unavailable",
      `no image can be removed while backend ${where}, which has sandboxes (${shown}), can't be asked which images their disks stand on: ${reason}`,
      {
        hint: `${hint ?? "heyvm doctor"}; if ${name} is gone for good: heyvm rm --forget ${sandboxes.map(shellQuoted).join(" ")}`,
        details: { backend: name, uri, sandboxes },
      },
    );
  }
}

/**
 * Asks the records and every backend for the images that a sandbox, a warm machine or a preparation stands on. A backend
 * that does not answer makes them `unknown` when it has sandboxes: most hosts lack some backend.
 */
export async function askImageUse(
  { registry, backends }: SandboxContext,
  signal: AbortSignal,
): Promise<{ inUse: Set<string>; unknown: ImageUseUnknownError | undefined }> {
  const inUse = new Set<string>();
  let unknown: ImageUseUnknownError | undefined;
  const sandboxes = new Map<Backend, string[]>();
  const damaged = registry.all().flatMap((sandbox) => (sandbox.damaged ? [sandbox.record.id] : []));
  // Their records tell, also of those whose backend cannot be asked now.
  for (const { record } of registry.all()) {
    const { image, backend: name, uri, name: sandbox } = record.spec;
    if (image === undefined) continue;
    inUse.add(image.fingerprint);
    try {
      const backend = await backends.get(name, uri);
      sandboxes.set(backend, [...(sandboxes.get(backend) ?? []), sandbox]);
    } catch (error) {
      const { message: reason, hint } = toHeyvmError(error);
      unknown ??= new ImageUseUnknownError({ name, uri, sandboxes: [sandbox], reason, hint });
    }
  }
  for (const { backend, uri } of backends.opened()) {
    if (!backend.usesImages) continue;
    const { available, reason = "no reason given", hint } = await backend.availability(signal);
    // Of one whose record is damaged nobody knows where it is.
    const those = [...(sandboxes.get(backend) ?? []), ...damaged];
    if (available) {
      for (const fingerprint of await backend.imagesInUse(signal)) inUse.add(fingerprint);
    } else if (those.length > 0) {
      unknown ??= new ImageUseUnknownError({ name: backend.name, uri, sandboxes: those, reason, hint });
    }
  }
  return { inUse, unknown };
}
