import { GuestMisbehavedError } from "./errors.ts";

const maxDepth = 16;

/** An object that came from the guest: nothing about it is known. */
export type GuestObject = Readonly<Record<string, unknown>>;

/** Parses a JSON object of the guest's, refusing what is none or is nested too deep. */
export function parseGuestJson(payload: Buffer): GuestObject {
  if (depthOf(payload) > maxDepth) throw new GuestMisbehavedError("it sent JSON that is nested too deep");
  let value: unknown;
  try {
    value = JSON.parse(payload.toString("utf8"));
  } catch (error) {
    throw new GuestMisbehavedError("it sent a payload that is no JSON", { cause: error });
  }
  if (!isObject(value)) throw new GuestMisbehavedError("it sent JSON that is no object");
  return value;
}

/** A whole number from `low` to `high`. */
export function guestInteger(from: GuestObject, field: string, low: number, high: number): number {
  const value = from[field];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= low && value <= high) return value;
  throw new GuestMisbehavedError(`${field} is no whole number from ${low} to ${high}`);
}

/** A finite number that is not negative. */
export function guestNumber(from: GuestObject, field: string): number {
  const value = from[field];
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
  throw new GuestMisbehavedError(`${field} is no number from 0 on`);
}

export function guestString(from: GuestObject, field: string, maxLength = 4096): string {
  const value = from[field];
  if (typeof value === "string" && value.length <= maxLength) return value;
  throw new GuestMisbehavedError(`${field} is no text of at most ${maxLength} characters`);
}

/** A nested object; an empty one when it is absent. */
export function guestObject(from: GuestObject, field: string): GuestObject {
  const value = from[field] ?? {};
  if (isObject(value)) return value;
  throw new GuestMisbehavedError(`${field} is no object`);
}

export function guestArray(from: GuestObject, field: string, maxLength: number): readonly unknown[] {
  const value = from[field];
  if (Array.isArray(value) && value.length <= maxLength) return value;
  throw new GuestMisbehavedError(`${field} is no list of at most ${maxLength}`);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** How deep brackets nest, without parsing. */
function depthOf(payload: Buffer): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < payload.length; at++) {
    const byte = payload[at];
    if (inString) {
      if (byte === 0x5c) at++;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x7b || byte === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return deepest;
}
