import type { Command } from "commander";

import { environmentOption, type KeyValues } from "../arguments/repeated.ts";
import { asCommandFailure, runAttached } from "../attached-command.ts";
import { addCommandOptions, attachOptionsOf, type CommandFlags } from "../command-options.ts";
import { setExitCode } from "../exit-code.ts";
import { createInvocation } from "../invocation.ts";
import { UsageError } from "../usage-error.ts";

export function define(command: Command): void {
  // With `--`, options may stand on both sides of ID; without, all that follows ID is the command's.
  const separated = process.argv.includes("--");
  addCommandOptions(command)
    .addOption(
      environmentOption("-e, --env <name[=value]>", "environment variable, or one to pass on; repeats"),
    )
    .usage("[options] <id> -- <command> [arguments...]")
    .argument("<id>", "sandbox")
    .argument("[command...]", "program and its arguments; no shell sees them")
    .passThroughOptions(!separated)
    .addHelpText(
      "after",
      `
Streams, signals and the exit code are the command's own. Exit codes of heyvm: 124 timeout, 125 the command could not
be run, 126 not executable, 127 not found, 128 + n ended by signal n. Without -t, both outputs are plain pipes.

Examples:
  heyvm exec web -- ls -l /workspace
  heyvm exec web -- sh -c 'cd /tmp && ls | wc -l'
  tar c . | heyvm exec web -- tar x -C /workspace
  heyvm exec -t web -- top`,
    )
    .action(async (id: string, words: string[], flags: CommandFlags & { env?: KeyValues }) => {
      const [program, ...args] = words;
      if (program === undefined) {
        throw new UsageError(
          "there is no command to run",
          `heyvm exec ${id} -- <command>; a shell: heyvm sh ${id}`,
        );
      }
      const invocation = createInvocation(command);
      const exitCode = await asCommandFailure(async () => {
        const heyvm = await invocation.connect();
        const sandbox = heyvm.sandboxes.at(id);
        const options = { ...attachOptionsOf(flags), env: flags.env };
        return await runAttached(invocation, sandbox, [program, ...args], options);
      });
      setExitCode(exitCode);
    });
}
