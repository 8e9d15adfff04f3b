import { type Command, Option } from "commander";

import { formatSize } from "../../config/size.ts";
import type { TemplateInfo } from "../../sdk/index.ts";
import { confirm } from "../confirm.ts";
import { createInvocation } from "../invocation.ts";
import { chosenSettings, type MachineFlags, machineOptions, toMachine } from "../machine-options.ts";
import type { Column } from "../output/table.ts";
import { printRemoved } from "../output/results.ts";
import { printable } from "../output/text.ts";
import { formatAgo } from "../output/time.ts";
import { withProgress } from "../with-progress.ts";

export function define(command: Command): void {
  command.usage("<command>").helpCommand(false).addHelpText("after", examples);
  defineList(command.command("list").alias("ls").description("list the templates on this machine"));
  defineBuild(command.command("build").description("make a template now, so that no create has to"));
  defineRemove(command.command("rm").alias("remove").description("remove templates"));
  definePrune(command.command("prune").description("remove templates that no sandbox stands on"));
}

const examples = `
A template is a machine that was booted once and frozen; new sandboxes of its image, type and size are clones of it. The
first of a kind makes one by itself, and those that were not used for the longest go when all take more of the disk than
the setting templates.budget says. With 0 there are none, and every sandbox boots.

Examples:
  heyvm templates build --image debian:12 --type python --memory 2G
  heyvm templates list
  heyvm templates rm 41c0`;

const columns: readonly Column<TemplateInfo>[] = [
  { title: "KEY", value: ({ key }) => key },
  { title: "IMAGE", value: ({ image }) => image, flexible: true },
  { title: "TYPE", value: ({ type }) => type },
  { title: "CPUS", value: ({ cpus, growsTo }) => upTo(String(cpus), growsTo && String(growsTo.cpus)) },
  {
    title: "MEMORY",
    value: ({ memoryBytes, growsTo }) =>
      upTo(formatSize(memoryBytes), growsTo && formatSize(growsTo.memoryBytes)),
  },
  { title: "SIZE", value: ({ sizeBytes }) => formatSize(sizeBytes) },
  { title: "USED", value: ({ lastUsedAt }) => formatAgo(lastUsedAt) },
  { title: "IN USE", value: ({ inUse }) => (inUse ? "yes" : "no") },
];

function upTo(least: string, most: string | undefined): string {
  return most === undefined ? least : `${least} to ${most}`;
}

function defineList(command: Command): void {
  command.action(async () => {
    const invocation = createInvocation(command);
    const { templates } = await invocation.connect();
    const found = await templates.list({ signal: invocation.signal });
    if (invocation.json) invocation.printJson(found);
    else if (found.length === 0)
      invocation.note(
        "no templates; where machines can be cloned (heyvm doctor), the first of a kind makes one",
      );
    else invocation.printTable(columns, found);
  });
}

function defineBuild(command: Command): void {
  for (const option of Object.values(machineOptions)) command.addOption(option());
  command.action(async (flags: MachineFlags) => {
    const invocation = createInvocation(command, { stopping: "stopping; half a template is removed" });
    const wanted = toMachine(flags, invocation, await chosenSettings());
    const { templates } = await invocation.connect();
    const template = await withProgress(invocation, (options) => templates.build(wanted, options));
    if (invocation.json) invocation.printJson(template);
    else invocation.print(template.key);
  });
}

function defineRemove(command: Command): void {
  command
    .argument("<key...>", "keys, or the first digits of them")
    .addOption(new Option("-y, --yes", "don't ask; needed where there is no terminal"))
    .action(async (keys: string[], flags: { yes?: boolean }) => {
      const invocation = createInvocation(command);
      const question = `Remove template ${printable(keys.join(", "))}?`;
      if (flags.yes !== true && !(await confirm(invocation, question))) return;
      const { templates } = await invocation.connect();
      for (const reference of keys) {
        const key = await templates.remove(reference, { signal: invocation.signal });
        if (invocation.json) invocation.printJson({ key, removed: true });
        else invocation.print(`removed ${key}`);
      }
    });
}

function definePrune(command: Command): void {
  command.action(async () => {
    const invocation = createInvocation(command);
    const { templates } = await invocation.connect();
    printRemoved(invocation, await templates.prune({ signal: invocation.signal }));
  });
}
