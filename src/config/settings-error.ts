import { HeyvmError } from "../errors/index.ts";

/** A setting that cannot be used; says which key, and in which file and line or variable it stands. */
export class SettingsInvalidError extends HeyvmError {
  constructor(
    message: string,
    where: { key?: string; origin: string; hint?: string | undefined; cause?: unknown },
  ) {
    super("settings_invalid", message, {
      hint: where.hint,
      cause: where.cause,
      details: { key: where.key, origin: where.origin },
    });
  }
}
