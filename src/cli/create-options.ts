/** The options of `create`, which `run` shares, and the request that they make. */
import { type Command, Option } from "commander";

import type { CreateSandboxOptions, Mount, PublishedPort } from "../sdk/index.ts";
import { durationOption, numberOption, sizeOption } from "./arguments/quantity.ts";
import { type KeyValues, environmentOption, keyValueOption, repeatedOption } from "./arguments/repeated.ts";
import { mountOption } from "./arguments/mount.ts";
import { publishedPortOption } from "./arguments/port.ts";
import type { Invocation } from "./invocation.ts";
import { chosenSettings, type MachineFlags, machineOptions, toMachine } from "./machine-options.ts";

export interface CreateFlags extends MachineFlags {
  name?: string;
  slug?: string;
  description?: string;
  disk?: number;
  mount?: readonly Mount[];
  ttlSeconds?: number;
  /** Milliseconds; `false` for `--no-ttl`. */
  ttl?: number | false;
  startCommand?: string;
  workingDirectory?: string;
  openPort?: readonly PublishedPort[];
  env?: KeyValues;
  setupHook?: readonly string[];
  needsNetwork?: boolean;
  label?: KeyValues;
  /** `false` for `--no-clone`. */
  clone?: boolean;
}

export function addCreateOptions(command: Command): Command {
  return command
    .optionsGroup("Sandbox:")
    .addOption(new Option("--name <name>", "its name; default: made up"))
    .addOption(new Option("--slug <slug>", "short name for addresses; default: made of the name"))
    .addOption(new Option("--description <text>", "what it is for, in words"))
    .addOption(machineOptions.image())
    .addOption(machineOptions.type())
    .addOption(keyValueOption("--label <key=value>", "label to find it by; repeats"))
    .addOption(durationOption("--ttl <duration>", "remove it after this long: 30s, 1h"))
    .addOption(numberOption("--ttl-seconds <n>", "the same in seconds", { minimum: 1, examples: ["3600"] }))
    .addOption(new Option("--no-ttl", "keep it for ever, whatever the settings say"))
    .addOption(new Option("--no-clone", "boot its machine, also where it could be a clone of a template"))
    .optionsGroup("Size:")
    .addOption(machineOptions.cpus())
    .addOption(machineOptions.memory())
    .addOption(sizeOption("--disk <size>", "size of its disk; default: the image's own"))
    .addOption(machineOptions.sizeClass())
    .optionsGroup("Inside:")
    .addOption(mountOption("--mount <host:guest[:ro]>", "show a folder of this machine in it; repeats"))
    .addOption(environmentOption("--env <name[=value]>", "environment variable, or one to pass on; repeats"))
    .addOption(new Option("--working-directory <path>", "where commands run; default: /workspace"))
    .addOption(repeatedOption("--setup-hook <command>", "shell command to run before it is ready; repeats"))
    .addOption(
      new Option("--start-command <command>", "shell command to run in the background once it is ready"),
    )
    .optionsGroup("Network:")
    .addOption(new Option("--needs-network", "let it reach the network; default: it can't"))
    .addOption(publishedPortOption("--open-port <port|host:guest>", "publish a port on 127.0.0.1; repeats"));
}

/** The request that the flags make, with the settings that were chosen for this command. */
export async function toCreateOptions(
  flags: CreateFlags,
  invocation: Invocation,
): Promise<CreateSandboxOptions> {
  const chosen = await chosenSettings();
  return {
    ...toMachine(flags, invocation, chosen),
    name: flags.name,
    slug: flags.slug,
    description: flags.description,
    diskBytes: flags.disk,
    mounts: flags.mount,
    ttlSeconds: ttlOf(flags) ?? (flags.ttl === false ? null : chosen.number("ttl_seconds")),
    startCommand: flags.startCommand,
    workingDirectory: flags.workingDirectory,
    openPorts: flags.openPort,
    env: flags.env,
    setupHooks: flags.setupHook,
    needsNetwork: flags.needsNetwork,
    labels: flags.label,
    // Left out where nothing was said: a busy daemon of an older version does not know it.
    clone: flags.clone === false ? false : undefined,
  };
}

function ttlOf(flags: CreateFlags): number | undefined {
  if (typeof flags.ttl === "number") return Math.max(1, Math.round(flags.ttl / 1000));
  return flags.ttlSeconds;
}
