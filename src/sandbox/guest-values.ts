/** Checks of what a create sets inside the guest: environment, working directory, labels, ports. */
import { posix } from "node:path";

import { InvalidArgumentError } from "../errors/index.ts";

const environmentName = /^[A-Za-z_][A-Za-z0-9_]*$/;
const labelName = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
const environmentLimitBytes = 262_144;

/** Throws `invalid_argument` for a name that no shell could read, a NUL byte, or more than the kernel would pass on. */
export function checkEnvironment(field: string, env: Readonly<Record<string, string>>): void {
  let sizeBytes = 0;
  for (const [name, value] of Object.entries(env)) {
    if (!environmentName.test(name)) {
      throw new InvalidArgumentError(field, `${field}: ${JSON.stringify(name)} is not a variable's name`, {
        hint: "use letters, digits and underscores, not a digit first",
      });
    }
    if (value.includes("\0")) {
      throw new InvalidArgumentError(
        `${field}.${name}`,
        `${field}: the value of ${name} contains a NUL byte`,
      );
    }
    sizeBytes += Buffer.byteLength(name) + Buffer.byteLength(value) + 2;
  }
  if (sizeBytes > environmentLimitBytes) {
    throw new InvalidArgumentError(
      field,
      `${field} has ${sizeBytes} bytes, ${environmentLimitBytes} are allowed`,
    );
  }
}

/** Returns the path in its shortest form. Throws `invalid_argument` unless it is absolute and has no tricks in it. */
export function checkGuestPath(field: string, path: string): string {
  const reason = guestPathFault(path);
  if (reason !== undefined) {
    throw new InvalidArgumentError(field, `${field} ${JSON.stringify(path.slice(0, 200))} ${reason}`, {
      hint: "give an absolute path in the guest, such as /workspace",
    });
  }
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith("/") ? normal.slice(0, -1) : normal;
}

/** Throws `invalid_argument` for labels that could not be asked for or shown. */
export function checkLabels(labels: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(labels)) {
    if (!labelName.test(name)) {
      throw new InvalidArgumentError("labels", `labels: ${JSON.stringify(name)} is not a label's name`, {
        hint: "use 1 to 63 letters, digits, dots, dashes, slashes and underscores",
      });
    }
    if (value.length > 255 || hasControlCharacters(value)) {
      throw new InvalidArgumentError(
        `labels.${name}`,
        `labels: the value of ${name} is longer than 255 characters or has control characters`,
      );
    }
  }
}

/** Whether a text has characters that would break a line or hide something. */
export function hasControlCharacters(text: string): boolean {
  return /[\p{Cc}]/u.test(text);
}

function guestPathFault(path: string): string | undefined {
  if (!path.startsWith("/")) return "is not absolute";
  if (path.length > 1024) return "is longer than 1024 characters";
  if (hasControlCharacters(path)) return "has control characters";
  if (path.split("/").includes("..")) return 'contains ".."';
  return undefined;
}
