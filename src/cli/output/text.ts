/** Text on a terminal: how wide it is, cut to fit, and without what would steer the terminal. */
import stringWidth from "string-width";

// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const controls = /[\u0000-\u001F\u007F-\u009F\u200B-\u200F\u202A-\u202E\u2066-\u2069]|[\uDC80-\uDCFF]/gu;

/** A name or message from elsewhere, safe to print: control characters, and bytes that are no UTF-8, are shown as escapes. */
export function printable(text: string): string {
  return text.replaceAll(controls, (character) => {
    const unit = character.charCodeAt(0);
    const code = unit >= 0xdc80 && unit <= 0xdcff ? unit - 0xdc00 : unit;
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** Cut to `columns`, the last of them `…` when something was cut. */
export function truncate(text: string, columns: number): string {
  if (stringWidth(text) <= columns) return text;
  let width = 0;
  let kept = "";
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    const next = width + stringWidth(segment);
    if (next > columns - 1) break;
    kept += segment;
    width = next;
  }
  return `${kept}…`;
}

/** Filled with spaces to `columns`. */
export function pad(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - stringWidth(text)));
}
