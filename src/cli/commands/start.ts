import type { Command } from "commander";

import { createInvocation, undone } from "../invocation.ts";
import { forEachWithProgress } from "../each-with-progress.ts";

export function define(command: Command): void {
  command.argument("<id...>", "sandboxes").action(async (ids: string[]) => {
    const invocation = createInvocation(command, undone);
    await forEachWithProgress(invocation, ids, "started", (sandbox, options) => sandbox.start(options));
  });
}
