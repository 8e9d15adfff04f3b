const maxCharacters = 500;

/** Text of the guest's as it may be shown: no control characters (terminal escapes), no endless length. */
export function guestText(text: string, limit: number = maxCharacters): string {
  // Also the C1 controls and those that reorder what is read.
  const shown = text
    .slice(0, limit * 2)
    .replaceAll(/[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]+/gu, " ")
    .trim();
  return shown.length > limit ? `${shown.slice(0, limit)}…` : shown;
}
