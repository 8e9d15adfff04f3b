import { randomBytes } from "node:crypto";

const idPattern = /^sb-[0-9a-f]{8}$/;

/** `sb-` and 8 random hex digits. */
export function newSandboxId(): string {
  return `sb-${randomBytes(4).toString("hex")}`;
}

/** Whether a text has the form of a sandbox's id (and so is safe as a file name). */
export function isSandboxId(text: string): boolean {
  return idPattern.test(text);
}
