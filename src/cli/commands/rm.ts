import { type Command, Option } from "commander";

import { confirm } from "../confirm.ts";
import { forEachSandbox } from "../each-sandbox.ts";
import { createInvocation } from "../invocation.ts";
import { printable } from "../output/text.ts";

export function define(command: Command): void {
  command
    .argument("<id...>", "sandboxes")
    .addOption(new Option("-y, --yes", "don't ask; needed where there is no terminal"))
    .addOption(
      new Option(
        "--forget",
        "while its backend is away, forget it: whatever that still has of it stays there for now",
      ),
    )
    .action(async (ids: string[], flags: { yes?: boolean; forget?: boolean }) => {
      const invocation = createInvocation(command);
      if (flags.yes !== true && !(await confirm(invocation, question(ids)))) return;
      const { signal } = invocation;
      await forEachSandbox(invocation, ids, async (sandbox) => {
        const { id, name, forgotten } = await sandbox.remove({ signal, forget: flags.forget });
        return {
          done: forgotten ? "forgot" : "removed",
          id,
          name,
          document: { id, name, removed: true, ...(forgotten && { forgotten }) },
        };
      });
    });
}

function question(ids: readonly string[]): string {
  return ids.length === 1
    ? `Remove ${printable(ids[0] ?? "")} and everything in it?`
    : `Remove ${ids.length} sandboxes (${printable(ids.join(", "))}) and everything in them?`;
}
