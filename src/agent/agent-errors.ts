import type { ErrorContext, HeyvmError } from "../errors/index.ts";
import {
  CommandNotStartableError,
  GuestFailedError,
  GuestPathNotFoundError,
  GuestPermissionError,
  GuestRefusedError,
  GuestUnsupportedError,
} from "./errors.ts";
import { type GuestObject, guestObject, guestString } from "./guest-json.ts";
import { guestText } from "./guest-text.ts";

type ErrorClass = new (message: string, context: ErrorContext) => HeyvmError;

/** The agent's codes; what is not listed is `guest_failed`. */
const classes: Readonly<Record<string, ErrorClass>> = {
  not_found: GuestPathNotFoundError,
  permission_denied: GuestPermissionError,
  not_startable: CommandNotStartableError,
  invalid: GuestRefusedError,
  exists: GuestRefusedError,
  not_empty: GuestRefusedError,
  not_a_directory: GuestRefusedError,
  is_a_directory: GuestRefusedError,
  unsupported: GuestUnsupportedError,
};

/** Turns the content of an ERROR frame into the error that the caller sees. `details.reason` is the agent's word. */
export function agentError(content: GuestObject): HeyvmError {
  const code = guestString(content, "code", 64);
  const message = guestText(guestString(content, "message", 65_536));
  const details = shownDetails(guestObject(content, "details"));
  const Class = Object.hasOwn(classes, code) ? classes[code] : undefined;
  return new (Class ?? GuestFailedError)(
    message === "" ? `the operation failed (${guestText(code)})` : message,
    {
      details: { reason: guestText(code), ...details },
    },
  );
}

/** At most a few short values: the guest chooses them. */
function shownDetails(details: GuestObject): Record<string, string | number> {
  const shown: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(details).slice(0, 8)) {
    if (!/^[a-z_]{1,32}$/u.test(name)) continue;
    if (typeof value === "string") shown[name] = guestText(value, 200);
    else if (typeof value === "number") shown[name] = value;
  }
  return shown;
}

/** Whether the agent was asked and answered that it could not: its session goes on. */
export function isAgentError(error: unknown): boolean {
  return [GuestFailedError, ...Object.values(classes)].some((Class) => error instanceof Class);
}
