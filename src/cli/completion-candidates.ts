/** What may come next on a command line, for the shells' completion. */
import type { Argument, Command, Option } from "commander";

import type { Heyvm } from "../sdk/index.ts";

export interface Candidate {
  value: string;
  description: string;
}

/** Asks the daemon, if one runs; completion must never start one, nor wait for it. */
export type Ask = <T>(question: (heyvm: Heyvm) => Promise<T>) => Promise<T | undefined>;

/** Gives a verb's command its options, arguments and action. */
export type LoadVerb = (command: Command) => Promise<void>;

/** `words` are those after `heyvm`, the last one unfinished. */
export async function completionCandidates(
  program: Command,
  words: readonly string[],
  load: LoadVerb,
  ask: Ask,
): Promise<Candidate[]> {
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  const { command, operands, pending, passThrough } = await walk(program, before, load);
  if (passThrough) return [];
  const candidates =
    pending !== undefined
      ? await valuesOfOption(pending, ask)
      : current.startsWith("-")
        ? optionsOf(command)
        : await operandsOf(command, operands, ask);
  return candidates.filter(({ value }) => value.startsWith(current));
}

interface Position {
  command: Command;
  operands: number;
  /** An option that still wants its value. */
  pending: Option | undefined;
  /** After `--`: the guest's words, not ours. */
  passThrough: boolean;
}

async function walk(program: Command, words: readonly string[], load: LoadVerb): Promise<Position> {
  let command = program;
  let operands = 0;
  let pending: Option | undefined;
  for (const word of words) {
    if (pending !== undefined) {
      pending = undefined;
    } else if (word === "--") {
      return { command, operands, pending, passThrough: true };
    } else if (word.startsWith("-")) {
      const option = command.options.find(({ long, short }) => word === long || word === short);
      if (option !== undefined && (option.required || option.optional)) pending = option;
    } else {
      const subcommand =
        operands === 0
          ? command.commands.find(
              (candidate) => candidate.name() === word || candidate.aliases().includes(word),
            )
          : undefined;
      if (subcommand === undefined) {
        operands += 1;
      } else {
        if (command === program) await load(subcommand);
        command = subcommand;
      }
    }
  }
  return { command, operands, pending, passThrough: false };
}

function optionsOf(command: Command): Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map((option) => ({ value: option.long ?? option.short ?? "", description: option.description }));
}

async function operandsOf(command: Command, position: number, ask: Ask): Promise<Candidate[]> {
  const subcommands = command.createHelp().visibleCommands(command);
  if (subcommands.length > 0 && position === 0) {
    return subcommands.map((one) => ({ value: one.name(), description: one.description() }));
  }
  const declared = command.registeredArguments;
  const argument = declared[position] ?? (declared.at(-1)?.variadic === true ? declared.at(-1) : undefined);
  return argument === undefined ? [] : await valuesOfArgument(argument, ask);
}

async function valuesOfArgument(argument: Argument, ask: Ask): Promise<Candidate[]> {
  if (argument.argChoices !== undefined) return plain(argument.argChoices);
  if (argument.name() === "id") return await sandboxes(ask);
  if (argument.name() === "image") return await images(ask);
  if (argument.name() === "key") return await templates(ask);
  if (argument.name() === "from" || argument.name() === "to") {
    return (await sandboxes(ask)).map(({ value, description }) => ({ value: `${value}:`, description }));
  }
  return [];
}

async function valuesOfOption(option: Option, ask: Ask): Promise<Candidate[]> {
  if (option.argChoices !== undefined) return plain(option.argChoices);
  if (option.long === "--image") return await images(ask);
  if (option.long === "--backend" || option.long === "--backend-type") {
    const backends = (await ask((heyvm) => heyvm.backends())) ?? [];
    return backends.map(({ name, description }) => ({ value: name, description }));
  }
  return option.long === "--uri" ? plain(["qemu:///session", "qemu:///system"]) : [];
}

async function sandboxes(ask: Ask): Promise<Candidate[]> {
  const all = (await ask((heyvm) => heyvm.sandboxes.list({ all: true }))) ?? [];
  return all.flatMap(({ id, name, info }) => [
    { value: name, description: `${info.status}, ${id}` },
    { value: id, description: `${info.status}, ${name}` },
  ]);
}

async function images(ask: Ask): Promise<Candidate[]> {
  const supported = (await ask((heyvm) => heyvm.images.supported())) ?? [];
  const here = (await ask((heyvm) => heyvm.images.list())) ?? [];
  const names = new Map(supported.map(({ name, description }) => [name, description]));
  for (const { name, path } of here) if (!names.has(name)) names.set(name, path);
  return [...names].map(([value, description]) => ({ value, description }));
}

async function templates(ask: Ask): Promise<Candidate[]> {
  const found = (await ask((heyvm) => heyvm.templates.list())) ?? [];
  return found.map(({ key, image, type }) => ({ value: key, description: `${image}, ${type}` }));
}

function plain(values: readonly string[]): Candidate[] {
  return values.map((value) => ({ value, description: "" }));
}
