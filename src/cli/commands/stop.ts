import type { Command } from "commander";

import { durationOption } from "../arguments/duration.ts";
import { forEachSandbox } from "../each-sandbox.ts";
import { createInvocation } from "../invocation.ts";

export function define(command: Command): void {
  command
    .argument("<id...>", "sandboxes")
    .addOption(durationOption("--grace <duration>", "how long the guest may take before it is cut off"))
    .action(async (ids: string[], flags: { grace?: number }) => {
      const invocation = createInvocation(command);
      const { signal } = invocation;
      const grace = flags.grace === undefined ? {} : { graceSeconds: flags.grace / 1000 };
      await forEachSandbox(invocation, ids, "stopped", (sandbox) => sandbox.stop({ signal, ...grace }));
    });
}
