/** The system's name of what was thrown (`ENOENT`), if it has one. */
export function errnoOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !("code" in thrown)) return undefined;
  return typeof thrown.code === "string" ? thrown.code : undefined;
}

/** Whether it was thrown because a disk, or the user's share of it, is full. */
export function isDiskFull(thrown: unknown): boolean {
  const errno = errnoOf(thrown);
  return errno === "ENOSPC" || errno === "EDQUOT";
}

/** What was thrown, in one line: the end of a console or of a command's output may follow it. */
export function firstLine(thrown: unknown): string {
  const [line = ""] = messageOf(thrown).split("\n");
  const whole = line.replace(/[;:]? the end of its console:$/, "");
  return whole.length > longestLine ? `${whole.slice(0, longestLine)}…` : whole;
}

const longestLine = 300;

/** What was thrown, in words. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
