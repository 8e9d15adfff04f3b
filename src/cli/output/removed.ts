import type { Invocation } from "../invocation.ts";
import { printable } from "./text.ts";

/** What a prune removed, in words. */
export function printRemoved(invocation: Invocation, removed: readonly string[]): void {
  if (invocation.json) invocation.printJson({ removed });
  else if (removed.length === 0) invocation.note("nothing to remove");
  else for (const entry of removed) invocation.print(`removed ${printable(entry)}`);
}
