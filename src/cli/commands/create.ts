import { type Command, Option } from "commander";

import { connectForImages } from "../connect-for-images.ts";
import { addCreateOptions, type CreateFlags, toCreateOptions } from "../create-options.ts";
import { createWithProgress } from "../with-progress.ts";
import { createInvocation, undone } from "../invocation.ts";

export function define(command: Command): void {
  addCreateOptions(command)
    .optionsGroup("Output:")
    .addOption(new Option("--print-id", "print nothing but the new sandbox's id"))
    .addHelpText(
      "after",
      `
Examples:
  heyvm create --name web --image debian:12 --memory 2G --cpus 2
  heyvm create --type python --mount ./project:/workspace --ttl 1h
  id=$(heyvm create --print-id)

Ctrl-C undoes what was begun.`,
    )
    .action(async (flags: CreateFlags & { printId?: boolean }) => {
      const invocation = createInvocation(command, undone);
      const options = await toCreateOptions(flags, invocation);
      const heyvm = await connectForImages(invocation);
      const sandbox = await createWithProgress(invocation, heyvm, options);
      if (flags.printId === true) invocation.print(sandbox.id);
      else if (invocation.json) invocation.printJson(sandbox);
      else invocation.print(`created ${sandbox.name} ${invocation.style.dim(sandbox.id)}`);
    });
}
