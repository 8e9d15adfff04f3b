import type { Command } from "commander";

import { forEachSandbox } from "../each-sandbox.ts";
import { createInvocation } from "../invocation.ts";

export function define(command: Command): void {
  command.argument("<id...>", "sandboxes").action(async (ids: string[]) => {
    const invocation = createInvocation(command);
    const { signal } = invocation;
    await forEachSandbox(invocation, ids, "paused", (sandbox) => sandbox.pause({ signal }));
  });
}
