import type { Command } from "commander";

import { type Ask, completionCandidates } from "../completion-candidates.ts";
import { printable } from "../output/text.ts";
import { addGlobalOptions } from "../program.ts";
import { verbs } from "../verbs.ts";

/** A person waits at the prompt. */
const askTimeoutMs = 2000;

/** `heyvm __complete -- <words after heyvm…>`: a candidate a line, a tab before its description. Never fails. */
export function define(command: Command): void {
  command.argument("[words...]").action(async (words: string[]) => {
    const program = command.parent;
    if (program === null) return;
    const candidates = await completionCandidates(program, words, loadVerb, ask).catch(() => []);
    for (const { value, description } of candidates) {
      process.stdout.write(`${printable(value)}\t${printable(description)}\n`);
    }
  });
}

async function loadVerb(command: Command): Promise<void> {
  const verb = verbs.find(({ name }) => name === command.name());
  if (verb === undefined) return;
  (await verb.load()).define(command);
  for (const one of [command, ...command.commands]) addGlobalOptions(one);
}

const ask: Ask = async (question) => {
  const { Heyvm } = await import("../../sdk/heyvm.ts");
  const signal = AbortSignal.timeout(askTimeoutMs);
  try {
    const heyvm = await Heyvm.connect({ autostart: false, signal });
    return await question(heyvm);
  } catch {
    // No daemon, or one that doesn't answer in time: then there are no candidates.
    return undefined;
  }
};
