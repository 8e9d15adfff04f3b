import { type Command, Option } from "commander";

import { asCommandFailure, runAttached } from "../attached-command.ts";
import { addCommandOptions, attachOptionsOf, type CommandFlags } from "../command-options.ts";
import { addCreateOptions, type CreateFlags, toCreateOptions } from "../create-options.ts";
import { createWithProgress } from "../with-progress.ts";
import { setExitCode } from "../exit-code.ts";
import { connectForImages } from "../connect-for-images.ts";
import { createInvocation, type Invocation, undone } from "../invocation.ts";
import { messageOf } from "../../errors/index.ts";
import type { OwnedSandbox } from "../../sdk/index.ts";
import { loadWebSockets } from "../../sdk/web-socket.ts";
import { UsageError } from "../usage-error.ts";

export function define(command: Command): void {
  addCreateOptions(addCommandOptions(command))
    .optionsGroup("Afterwards:")
    .addOption(new Option("--keep", "leave the sandbox when the command has ended"))
    .usage("[options] -- <command> [arguments...]")
    .argument("[command...]", "program and its arguments; no shell sees them")
    .passThroughOptions()
    .addHelpText(
      "after",
      `
The exit code is the command's own; 125 when it could not be run. The sandbox is removed in every case.

Examples:
  heyvm run --image debian:12 -- uname -a
  heyvm run --type python --mount .:/workspace -- python3 main.py
  echo 'print(6 * 7)' | heyvm run --type python -- python3 -`,
    )
    .action(async (words: string[], flags: CreateFlags & CommandFlags & { keep?: boolean }) => {
      const [program, ...args] = words;
      if (program === undefined)
        throw new UsageError("there is no command to run", "heyvm run [options] -- <command>");
      const invocation = createInvocation(command, undone);
      const exitCode = await asCommandFailure(async () => {
        const heyvm = await connectForImages(invocation);
        const options = await toCreateOptions(flags, invocation);
        const creating = createWithProgress(invocation, heyvm, options);
        // Now there is time for it; should it fail, so does the command.
        void loadWebSockets().catch(() => undefined);
        const sandbox = await creating;
        await using _removed = {
          [Symbol.asyncDispose]: () => release(invocation, sandbox, flags.keep === true),
        };
        return await runAttached(invocation, sandbox, [program, ...args], attachOptionsOf(flags));
      });
      setExitCode(exitCode);
    });
}

/** The command's result stands; a sandbox that can't be removed is told of beside it. */
async function release(invocation: Invocation, sandbox: OwnedSandbox, keep: boolean): Promise<void> {
  if (keep) {
    invocation.note(invocation.errorStyle.dim(`${sandbox.name} is kept: heyvm sh ${sandbox.id}`));
    return;
  }
  // A second Ctrl-C must still be able to end the program, but the first must not leave the sandbox behind.
  await sandbox.remove().catch((error: unknown) => {
    invocation.note(
      `${invocation.errorStyle.yellow("warning:")} could not remove ${sandbox.id}: ${messageOf(error)}; to do it: heyvm rm ${sandbox.id}`,
    );
  });
}
