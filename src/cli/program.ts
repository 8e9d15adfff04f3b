/** The command tree; each verb's own options are read from its module when it is used. */
import { Command, Option } from "commander";

import { backendNames } from "../config/backend-names.ts";
import { portOption } from "./arguments/port.ts";
import { uriOption } from "./arguments/uri.ts";
import { type Verb, verbAliases, verbs } from "./verbs.ts";

/** Options that every verb has, too, so that they may stand before or after it. */
function addGlobalOptions(command: Command): Command {
  return command
    .addHelpOption(new Option("-h, --help", "show help").helpGroup("Global options:"))
    .optionsGroup("Global options:")
    .addOption(new Option("--format <format>", "output for people or for programs").choices(["text", "json"]))
    .addOption(new Option("--backend-type <name>", "backend to use").choices(backendNames))
    .addOption(new Option("--backend <name>", "the same as --backend-type").choices(backendNames).hideHelp())
    .addOption(uriOption("--uri <uri>", "libvirt connection, for example qemu:///system"))
    .addOption(new Option("--debug", "show requests and stack traces on stderr"));
}

/** The whole program. `all` loads every verb at once (for the reference page); otherwise the one that is used. */
export async function buildProgram(version: string, options: { all?: boolean } = {}): Promise<Command> {
  const program = new Command("heyvm")
    .description("Linux sandboxes for untrusted code, on your own hardware.")
    .usage("[options] <command>")
    .version(version, "-V, --version", "print the version")
    .addHelpCommand(
      new Command("help [command]").description("show help of a command").helpGroup("This machine:"),
    )
    .enablePositionalOptions()
    .configureOutput({ outputError: () => undefined })
    .configureHelp({
      styleTitle: (title) => bold(title),
      subcommandTerm: (command) => [command.name(), ...command.aliases()].join(", "),
    })
    .exitOverride();
  program
    .addOption(new Option("--api", "serve the API on TCP, as `serve` does with --port"))
    .addOption(portOption("--port <port>", "port for --api; default: 3000"));
  addGlobalOptions(program);
  for (const verb of verbs) addVerb(program, verb);
  program.addHelpText("after", programHelp);
  if (options.all === true) for (const command of program.commands) await loadVerb(command);
  else program.hook("preSubcommand", async (_program, command) => await loadVerb(command));
  return program;
}

/** Its module is loaded, and the command is complete. */
export async function loadVerb(command: Command): Promise<void> {
  const verb = verbs.find(({ name }) => name === command.name());
  if (verb === undefined) return;
  (await verb.load()).define(command, loadVerb);
  for (const one of [command, ...command.commands]) addGlobalOptions(one);
}

function addVerb(program: Command, verb: Verb): void {
  const command = program.command(verb.name, { hidden: verb.hidden === true });
  command.description(verb.summary).helpGroup(verb.group);
  const alias = verbAliases[verb.name];
  if (alias !== undefined) command.alias(alias);
}

function bold(text: string): string {
  // Commander takes colours away again when the output has none.
  return `\u001B[1m${text}\u001B[22m`;
}

const programHelp = `
\`heyvm <command> --help\` tells more about each. ID is an id (sb-…), a unique beginning of it, a slug or a name;
most commands take several.

Examples:
  heyvm run --image debian:12 -- uname -a
  heyvm create --name web --image debian:12 --memory 2G --mount .:/workspace
  heyvm exec web -- ls -l
  heyvm cp web:/workspace/out ./out
  heyvm rm web

Settings: ~/.heyo/settings.json and HEYVM_… variables; see \`heyvm config\`.
Exit codes: 0 success, 1 failure, 2 usage, 3 not found, 4 conflict, 5 backend trouble, 124 timeout, 130 interrupted;
exec, run and sh: the command's own, 125 when it could not be run at all.`;
