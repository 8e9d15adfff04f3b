/** Writes docs/reference/cli.md from the commands themselves. `--check` fails when the page is stale. */
import { readFile, writeFile } from "node:fs/promises";

import type { Command } from "commander";

import { buildProgram } from "../src/cli/program.ts";

const page = new URL("../docs/reference/cli.md", import.meta.url);
const helpColumns = 100;

const text = await render();
if (process.argv.includes("--check")) {
  if ((await readFile(page, "utf8").catch(() => "")) !== text) {
    process.stderr.write("docs/reference/cli.md is stale: node --import tsx script/generate-cli-docs.ts\n");
    process.exitCode = 1;
  }
} else {
  await writeFile(page, text);
}

async function render(): Promise<string> {
  const program = await buildProgram("", { all: true });
  const sections = commandsOf(program).map(([path, command]) => `## ${path}\n\n${helpOf(command)}`);
  return [
    "# Command line reference",
    "",
    "Made from the commands by `script/generate-cli-docs.ts`; don't edit. How to use them: [guide](../guides/cli.md).",
    "",
    `## heyvm\n\n${helpOf(program)}`,
    "",
    sections.join("\n\n"),
    "",
  ].join("\n");
}

function commandsOf(parent: Command, prefix = "heyvm"): [string, Command][] {
  return parent
    .createHelp()
    .visibleCommands(parent)
    .filter((command) => command.name() !== "help")
    .flatMap((command): [string, Command][] => {
      const path = `${prefix} ${command.name()}`;
      return [[path, command], ...commandsOf(command, path)];
    });
}

/** As `--help` prints it, with what is added after it, without colours. */
function helpOf(command: Command): string {
  let written = "";
  command.configureOutput({
    writeOut: (part) => {
      written += part;
    },
    getOutHelpWidth: () => helpColumns,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return `\`\`\`text\n${written.trim()}\n\`\`\``;
}
