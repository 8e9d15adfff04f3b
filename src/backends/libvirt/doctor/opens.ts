/** What this user may do with a path. */
import { access, constants } from "node:fs/promises";
import { dirname } from "node:path";

/** `mode`: of `constants.R_OK`, `W_OK`, `X_OK`, `F_OK`. */
export async function opens(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** The path, or the nearest folder above it that is there. */
export async function existingParent(path: string): Promise<string> {
  let existing = path;
  while (existing !== dirname(existing) && !(await opens(existing, constants.F_OK))) {
    existing = dirname(existing);
  }
  return existing;
}
