/** Times and spans for people. */

/** `0.4s`, `12.3s`, `3m05s`, `2h14m`, `3d4h`. */
export function formatSpan(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  const parts = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
    whole % 60,
  ];
  const [days = 0, hours = 0, minutes = 0, rest = 0] = parts;
  if (days > 0) return `${days}d${hours}h`;
  if (hours > 0) return `${hours}h${String(minutes).padStart(2, "0")}m`;
  return `${minutes}m${String(rest).padStart(2, "0")}s`;
}

/** Without fractions: `42s`, `3m05s`. */
export function formatSeconds(milliseconds: number): string {
  return formatSpan(Math.round(milliseconds / 1000) * 1000).replace(".0s", "s");
}

/** `just now`, `5m ago`. */
export function formatAgo(time: Date, now: Date = new Date()): string {
  const milliseconds = now.getTime() - time.getTime();
  return milliseconds < 5000 ? "just now" : `${coarse(milliseconds)} ago`;
}

/** The largest unit alone: `42s`, `5m`, `3h`, `12d`. */
export function coarse(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
