import { type Command, Option } from "commander";

import { confirm } from "../confirm.ts";
import { forEachSandbox } from "../each-sandbox.ts";
import { createInvocation } from "../invocation.ts";
import { printable } from "../output/text.ts";

export function define(command: Command): void {
  command
    .argument("<id...>", "sandboxes")
    .addOption(new Option("-y, --yes", "don't ask; needed where there is no terminal"))
    .action(async (ids: string[], flags: { yes?: boolean }) => {
      const invocation = createInvocation(command);
      if (flags.yes !== true && !(await confirm(invocation, question(ids)))) return;
      const { signal } = invocation;
      await forEachSandbox(invocation, ids, "removed", (sandbox) => sandbox.remove({ signal }));
    });
}

function question(ids: readonly string[]): string {
  return ids.length === 1
    ? `Remove ${printable(ids[0] ?? "")} and everything in it?`
    : `Remove ${ids.length} sandboxes (${printable(ids.join(", "))}) and everything in them?`;
}
