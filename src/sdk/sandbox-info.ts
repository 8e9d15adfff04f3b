/** A sandbox's description: as callers of the SDK give and get it. */
import type { z } from "zod";

import type { CreateSandboxInput, Sandbox as SandboxDocument } from "../api/schema.ts";
import { nearest } from "../config/nearest.ts";
import { InvalidArgumentError } from "../errors/index.ts";
import type { createShape, mountShape, openPortShape, SandboxDescription } from "../sandbox/shape.ts";
import { fromWire, toWire } from "../sandbox/wire-names.ts";

/** As callers may give it: what it holds need not be theirs to change. */
type Given<T> = { [Field in keyof T]: Unchanged<T[Field]> };
type Unchanged<T> = T extends readonly (infer Element)[]
  ? readonly Unchanged<Element>[]
  : T extends object
    ? Readonly<T>
    : T;

/** What a create may say; all is optional. */
export type CreateSandboxOptions = Given<z.input<typeof createShape>>;
/** A host folder that the guest sees at `sandboxPath`. */
export type Mount = z.input<typeof mountShape>;
/** A guest port on 127.0.0.1 of the host: the same number, or another one. */
export type PublishedPort = z.input<typeof openPortShape>;
/** What a sandbox's machine takes of the memory of the daemon's host. Clones share their template's. */
export type HostMemory = NonNullable<SandboxDescription["hostMemory"]>;

/** A sandbox as the daemon described it. */
export interface SandboxInfo extends Omit<SandboxDescription, "createdAt" | "startedAt" | "expiresAt"> {
  createdAt: Date;
  startedAt: Date | null;
  expiresAt: Date | null;
}

/** Complete by its type: what is added above is asked for here. */
const createOptions: Readonly<Record<keyof CreateSandboxOptions, true>> = {
  name: true,
  slug: true,
  type: true,
  image: true,
  backend: true,
  uri: true,
  cpus: true,
  memoryBytes: true,
  diskBytes: true,
  sizeClass: true,
  mounts: true,
  ttlSeconds: true,
  startCommand: true,
  workingDirectory: true,
  openPorts: true,
  env: true,
  setupHooks: true,
  needsNetwork: true,
  labels: true,
  clone: true,
};
const mountOptions: Readonly<Record<keyof Mount, true>> = {
  hostPath: true,
  sandboxPath: true,
  readOnly: true,
};
const portOptions: Readonly<Record<"guestPort" | "hostPort", true>> = { guestPort: true, hostPort: true };

/** Throws `invalid_argument` for an option that there is not, as the API does for a field: JavaScript has no types. */
export function toCreateRequest(options: CreateSandboxOptions): CreateSandboxInput {
  refuseUnknown(options, createOptions, "");
  options.mounts?.forEach((mount, index) => refuseUnknown(mount, mountOptions, `mounts[${index}]`));
  options.openPorts?.forEach((port, index) => {
    if (typeof port !== "number") refuseUnknown(port, portOptions, `openPorts[${index}]`);
  });
  return toWire(options);
}

export function toSandboxInfo(document: SandboxDocument): SandboxInfo {
  // Of a stream's last message, which has this field of its own.
  const { type: _type, ...described } = { type: undefined, ...document };
  const description = fromWire<SandboxDescription>(described);
  return {
    ...description,
    createdAt: new Date(description.createdAt),
    startedAt: toDate(description.startedAt),
    expiresAt: toDate(description.expiresAt),
    // A daemon of an earlier version, which is not replaced while it is busy, does not tell.
    hostMemory: description.hostMemory ?? null,
  };
}

function toDate(text: string | null): Date | null {
  return text === null ? null : new Date(text);
}

function refuseUnknown(given: unknown, options: Readonly<Record<string, true>>, place: string): void {
  if (!isObject(given)) {
    const what = place === "" ? "options" : place;
    throw new InvalidArgumentError(what, `${what} must be an object`);
  }
  const unknown = Object.keys(given).find((key) => given[key] !== undefined && !Object.hasOwn(options, key));
  if (unknown === undefined) return;
  const known = Object.keys(options);
  const suggestion = nearest(unknown, known);
  throw new InvalidArgumentError(
    place === "" ? unknown : `${place}.${unknown}`,
    `there is no option ${JSON.stringify(unknown.slice(0, 80))}${place === "" ? "" : ` in ${place}`}`,
    {
      hint: suggestion === undefined ? `known options: ${known.join(", ")}` : `did you mean "${suggestion}"?`,
    },
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
