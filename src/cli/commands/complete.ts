import type { Command } from "commander";

import { timeoutSignal } from "../../core/deadline.ts";
import { type Ask, completionCandidates, type LoadVerb } from "../completion-candidates.ts";
import { printable } from "../output/text.ts";

/** A person waits at the prompt. */
const askTimeoutMs = 2000;

/** `heyvm __complete -- <words after heyvm…>`: a candidate a line, a tab before its description. Never fails. */
export function define(command: Command, load: LoadVerb): void {
  command.argument("[words...]").action(async (words: string[]) => {
    const program = command.parent;
    if (program === null) return;
    const candidates = await completionCandidates(program, words, load, ask).catch(() => []);
    for (const { value, description } of candidates) {
      process.stdout.write(`${printable(value)}\t${printable(description)}\n`);
    }
  });
}

const ask: Ask = async (question) => {
  const { Heyvm } = await import("../../sdk/heyvm.ts");
  const signal = timeoutSignal(askTimeoutMs);
  try {
    const heyvm = await Heyvm.connect({ autostart: false, signal });
    return await question(heyvm);
  } catch {
    // No daemon, or one that doesn't answer in time: then there are no candidates.
    return undefined;
  }
};
