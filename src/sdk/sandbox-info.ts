/** A sandbox's description: as callers of the SDK give and get it. */
import type { CreateSandboxInput, Sandbox as SandboxDocument, SandboxDescription } from "../api/schema.ts";
import { nearest } from "../config/nearest.ts";
import { InvalidArgumentError } from "../errors/index.ts";
import { fromWire, toWire } from "../sandbox/wire-names.ts";
import { type CreateSandboxOptions, optionNames, type SandboxInfo } from "./sandbox-types.ts";

/** Throws `invalid_argument` for an option that there is not, as the API does for a field: JavaScript has no types. */
export function toCreateRequest(options: CreateSandboxOptions): CreateSandboxInput {
  refuseUnknown(options, optionNames.create, "");
  options.mounts?.forEach((mount, index) => refuseUnknown(mount, optionNames.mount, `mounts[${index}]`));
  options.openPorts?.forEach((port, index) => {
    if (typeof port !== "number") refuseUnknown(port, optionNames.port, `openPorts[${index}]`);
  });
  return toWire(options);
}

export function toSandboxInfo(document: SandboxDocument): SandboxInfo {
  const description = fromWire<SandboxDescription>(document);
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

function refuseUnknown(given: unknown, known: readonly string[], place: string): void {
  if (!isObject(given)) {
    const what = place === "" ? "options" : place;
    throw new InvalidArgumentError(what, `${what} must be an object`);
  }
  const unknown = Object.keys(given).find((key) => given[key] !== undefined && !known.includes(key));
  if (unknown === undefined) return;
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
