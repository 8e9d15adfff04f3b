/** Results that several verbs print. */
import type { ImageInfo } from "../../sdk/index.ts";
import type { Invocation } from "../invocation.ts";
import { printable } from "./text.ts";

/** An image, by its name and its file. */
export function printImage(invocation: Invocation, image: ImageInfo): void {
  if (invocation.json) invocation.printJson(image);
  else invocation.print(`${image.name}  ${image.path}`);
}

/** What a prune removed, in words, and what it warns of, which people have been told already. */
export function printRemoved(
  invocation: Invocation,
  removed: readonly string[],
  warnings: readonly string[] = [],
): void {
  if (invocation.json) invocation.printJson({ removed, ...(warnings.length > 0 && { warnings }) });
  else if (removed.length === 0) invocation.note("nothing to remove");
  else for (const entry of removed) invocation.print(`removed ${printable(entry)}`);
}
