import { buildProgram } from "./program.ts";
import { takeExitCode } from "./exit-code.ts";

/** Parses and runs; answers the exit code. Errors are the caller's to show. */
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
  await program.parseAsync([...argv], { from: "user" });
  return takeExitCode();
}
