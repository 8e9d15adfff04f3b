import { createInterface } from "node:readline/promises";

import { AbortedError } from "../errors/index.ts";
import type { Invocation } from "./invocation.ts";
import { UsageError } from "./usage-error.ts";

/** Asks on the terminal; without one there is nobody to ask, and `--yes` is needed. */
export async function confirm(invocation: Invocation, question: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError(`there is no terminal to ask on: ${question}`, "say yes beforehand: --yes");
  }
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  // In its own terminal mode readline sees Ctrl-C as a key.
  reader.on("SIGINT", () => invocation.interruption.interrupt("SIGINT"));
  try {
    const answer = await reader.question(`${question} [y/N] `, { signal: invocation.signal });
    return /^y(es)?$/i.test(answer.trim());
  } catch (error) {
    if (invocation.signal.aborted) throw new AbortedError("the question", invocation.signal.reason);
    throw error;
  } finally {
    reader.close();
  }
}
