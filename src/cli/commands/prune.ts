import { type Command, Option } from "commander";

import { createInvocation } from "../invocation.ts";
import { printRemoved } from "../output/results.ts";
import { printable } from "../output/text.ts";

export function define(command: Command): void {
  command
    .addOption(new Option("--everything", "also caches: prepared disks and images that nobody uses now"))
    .action(async (flags: { everything?: boolean }) => {
      const invocation = createInvocation(command);
      const heyvm = await invocation.connect();
      const warnings: string[] = [];
      const onWarning = (message: string): void => {
        warnings.push(message);
        invocation.note(`${invocation.errorStyle.yellow("warning:")} ${printable(message)}`);
      };
      const removed = await heyvm.prune({ ...flags, onWarning, signal: invocation.signal });
      printRemoved(invocation, removed, warnings);
    });
}
