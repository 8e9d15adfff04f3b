import { buildProgram } from "./program.ts";
import { takeExitCode } from "./exit-code.ts";

/** Parses and runs; answers the exit code. Errors are the caller's to show. */
export async function runProgram(argv: readonly string[], version: string): Promise<number> {
  const program = await buildProgram(version);
  if (argv.length === 0) {
    program.outputHelp();
    return 0;
  }
  program.action(async (_options, command) => {
    if (program.opts<{ api?: boolean }>().api !== true) {
      program.outputHelp();
      return;
    }
    const { serveApi } = await import("./commands/serve.ts");
    await serveApi(command);
  });
  await program.parseAsync([...argv], { from: "user" });
  return takeExitCode();
}
