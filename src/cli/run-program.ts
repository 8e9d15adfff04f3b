import { CommanderError } from "commander";

import { takeExitCode } from "./exit-code.ts";
import { buildProgram } from "./program.ts";
import { UsageError } from "./usage-error.ts";
import { verbAliases, verbs } from "./verbs.ts";

/** Parses and runs; returns the exit code. Errors are the caller's to show. */
export async function runProgram(argv: readonly string[], version: string): Promise<number> {
  const program = await buildProgram(version);
  if (argv.length === 0) {
    program.outputHelp();
    return 0;
  }
  // Only then: a program with an action of its own would take an unknown command for an argument of it.
  if (argv.includes("--api")) {
    program.action(async () => {
      const { serve } = await import("./commands/serve.ts");
      await serve(program, program.opts());
    });
  }
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version end commander's work by an error that is none.
    if (error.exitCode === 0) return 0;
    throw inOurWords(error, argv);
  }
  return takeExitCode();
}

/** What commander says, in the words and with the exit code of all other errors. */
function inOurWords(error: CommanderError, argv: readonly string[]): UsageError {
  const ours = argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
  const verb = ours.find((word) => !word.startsWith("-"));
  const isVerb = verbs.some(({ name }) => verb !== undefined && [name, verbAliases[name]].includes(verb));
  const help = isVerb ? `heyvm ${verb} --help` : "heyvm --help";
  if (error.code === "commander.help") return new UsageError("a command is missing", `see ${help}`);
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = rest.join(" ").replaceAll(/^\(|\)$/g, "");
  return new UsageError(first, suggestion === "" ? `see ${help}` : `${suggestion} See ${help}`);
}
