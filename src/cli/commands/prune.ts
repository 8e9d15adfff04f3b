import { type Command, Option } from "commander";

import { createInvocation } from "../invocation.ts";
import { printRemoved } from "../output/removed.ts";

export function define(command: Command): void {
  command
    .addOption(new Option("--everything", "also caches: prepared disks and images that nobody uses now"))
    .action(async (flags: { everything?: boolean }) => {
      const invocation = createInvocation(command);
      const heyvm = await invocation.connect();
      printRemoved(invocation, await heyvm.prune({ ...flags, signal: invocation.signal }));
    });
}
