/** File names as text. A name is bytes; each that is no UTF-8 stands in the text as a lone surrogate, U+DC80 to U+DCFF. */
import { isUtf8 } from "node:buffer";

// The flag `u`: a low surrogate that is half of a character is no match.
const escapedByte = /([\udc80-\udcff])/u;
const escapeBase = 0xdc00;

/** The text of a name; no two names have the same. */
export function textOfName(bytes: Uint8Array): string {
  if (isUtf8(bytes)) return Buffer.from(bytes).toString("utf8");
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const length = characterLength(bytes, at);
    text +=
      length === 0
        ? String.fromCharCode(escapeBase + (bytes[at] ?? 0))
        : Buffer.from(bytes.subarray(at, at + length)).toString("utf8");
    at += Math.max(length, 1);
  }
  return text;
}

/** The name that a text stands for. */
export function bytesOfName(text: string): Buffer {
  if (!escapedByte.test(text)) return Buffer.from(text);
  const parts = text.split(escapedByte);
  return Buffer.concat(
    parts.map((part, index) =>
      index % 2 === 0 ? Buffer.from(part) : Buffer.of(part.charCodeAt(0) - escapeBase),
    ),
  );
}

/** Whether the text is what `textOfName` gives: another one could stand for the same name in a second way. */
export function isTextOfName(text: string): boolean {
  return textOfName(bytesOfName(text)) === text;
}

/** For a URL's query: the name's bytes, percent-encoded. */
export function encodeQueryText(text: string): string {
  // A lone surrogate is more than encodeURIComponent takes.
  if (!/\p{Surrogate}/u.test(text)) return encodeURIComponent(text);
  return bytesOfName(text).toString("hex").replaceAll(/../g, "%$&");
}

/** The other way; what is no valid escape stays as it is. */
export function decodeQueryText(encoded: string): string {
  return encoded.replaceAll(/(?:%[0-9a-f]{2})+/gi, (run) =>
    textOfName(Buffer.from(run.replaceAll("%", ""), "hex")),
  );
}

/** How many bytes the valid UTF-8 character there takes; 0 when there is none. */
function characterLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] ?? 0;
  const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  return at + length <= bytes.length && isUtf8(bytes.subarray(at, at + length)) ? length : 0;
}
