/** A path or value as one word of a command that somebody will copy into a shell; a guest may have chosen it. */
export function shellQuoted(word: string): string {
  return /^[\w./:+-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
