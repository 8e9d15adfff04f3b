import type { Command } from "commander";

import { loadSettings, type SettingEntry } from "../../config/settings.ts";
import { statePaths } from "../../config/paths.ts";
import { createInvocation } from "../invocation.ts";
import { UsageError } from "../usage-error.ts";

export function define(command: Command): void {
  command
    .argument("[key...]", "only these settings")
    .addHelpText(
      "after",
      `
A flag beats an environment variable, which beats ~/.heyo/settings.json, which beats the default. The settings of the
daemon itself (sockets, mirrors, image folders, templates, pool) are read when it starts. The file may have comments.`,
    )
    .action(async (keys: string[]) => {
      const invocation = createInvocation(command);
      const { settings: path } = statePaths();
      const flags = { backend_type: invocation.backend, "libvirt.uri": invocation.uri };
      const { entries } = await loadSettings({ path, flags });
      const wanted = selectEntries(entries, keys);
      if (invocation.json) {
        invocation.printJson({ path, settings: wanted });
        return;
      }
      invocation.printTable<SettingEntry>(
        [
          { title: "SETTING", value: ({ key }) => key },
          { title: "VALUE", value: ({ value }) => describeValue(value), flexible: true },
          { title: "FROM", value: ({ source, origin }) => origin ?? source },
        ],
        wanted,
      );
    });
}

function selectEntries(entries: readonly SettingEntry[], keys: readonly string[]): readonly SettingEntry[] {
  const unknown = keys.find((key) => !entries.some((entry) => entry.key === key));
  if (unknown !== undefined) {
    throw new UsageError(`there is no setting ${JSON.stringify(unknown)}`, "all of them: heyvm config");
  }
  return keys.length === 0 ? entries : entries.filter(({ key }) => keys.includes(key));
}

function describeValue(value: unknown): string {
  if (value === null) return "-";
  return typeof value === "string" ? value : JSON.stringify(value);
}
