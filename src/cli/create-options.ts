/** The options of `create`, which `run` shares, and the request that they make. */
import { type Command, Option } from "commander";

import type { SettingKey } from "../config/settings.ts";
import { statePaths } from "../config/paths.ts";
import type { CreateSandboxOptions, Mount, PublishedPort } from "../sdk/index.ts";
import { durationOption } from "./arguments/duration.ts";
import { imageOption } from "./arguments/image.ts";
import { environmentOption, keyValueOption, type KeyValues } from "./arguments/key-value.ts";
import { mountOption } from "./arguments/mount.ts";
import { numberOption } from "./arguments/number.ts";
import { publishedPortOption } from "./arguments/port.ts";
import { repeatedOption } from "./arguments/repeated.ts";
import { sizeOption } from "./arguments/size.ts";
import type { Invocation } from "./invocation.ts";

export interface CreateFlags {
  name?: string;
  slug?: string;
  image?: string;
  type?: "shell" | "python" | "node";
  cpus?: number;
  memory?: number;
  disk?: number;
  sizeClass?: "micro" | "mini" | "small" | "medium" | "large";
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
}

export function addCreateOptions(command: Command): Command {
  return command
    .optionsGroup("Sandbox:")
    .addOption(new Option("--name <name>", "its name; default: made up"))
    .addOption(new Option("--slug <slug>", "short name for addresses; default: made of the name"))
    .addOption(
      imageOption("--image <image>", "name, path or URL of a cloud image; see `heyvm images supported`"),
    )
    .addOption(
      new Option("--type <type>", "what is installed: shell (nothing more), python or node").choices([
        "shell",
        "python",
        "node",
      ]),
    )
    .addOption(keyValueOption("--label <key=value>", "label to find it by; repeats"))
    .addOption(durationOption("--ttl <duration>", "remove it after this long: 30s, 1h"))
    .addOption(numberOption("--ttl-seconds <n>", "the same in seconds", { minimum: 1, examples: ["3600"] }))
    .addOption(new Option("--no-ttl", "keep it for ever, whatever the settings say"))
    .optionsGroup("Size:")
    .addOption(numberOption("--cpus <n>", "virtual CPUs", { minimum: 0, whole: false, examples: ["1", "2"] }))
    .addOption(sizeOption("--memory <size>", "memory: 512M, 2G"))
    .addOption(sizeOption("--disk <size>", "size of its disk; default: the image's own"))
    .addOption(
      new Option("--size-class <class>", "CPUs and memory by name").choices([
        "micro",
        "mini",
        "small",
        "medium",
        "large",
      ]),
    )
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

/** Flags beat this shell's environment, which beats the settings file; what none of them says, the daemon decides. */
export async function toCreateOptions(
  flags: CreateFlags,
  invocation: Invocation,
): Promise<CreateSandboxOptions> {
  const chosen = await chosenSettings();
  const sized = flags.sizeClass !== undefined;
  return {
    name: flags.name,
    slug: flags.slug,
    type: flags.type,
    image: flags.image ?? chosen.text("image"),
    backend: invocation.backend ?? chosen.text("backend_type"),
    uri: invocation.uri ?? chosen.text("libvirt.uri"),
    cpus: flags.cpus ?? (sized ? undefined : chosen.number("cpus")),
    memoryBytes: flags.memory ?? (sized ? undefined : chosen.number("memory")),
    diskBytes: flags.disk,
    sizeClass: flags.sizeClass,
    mounts: flags.mount,
    ttlSeconds: ttlOf(flags) ?? (flags.ttl === false ? null : chosen.number("ttl_seconds")),
    startCommand: flags.startCommand,
    workingDirectory: flags.workingDirectory,
    openPorts: flags.openPort,
    env: flags.env,
    setupHooks: flags.setupHook,
    needsNetwork: flags.needsNetwork,
    labels: flags.label,
  };
}

function ttlOf(flags: CreateFlags): number | undefined {
  if (typeof flags.ttl === "number") return Math.max(1, Math.round(flags.ttl / 1000));
  return flags.ttlSeconds;
}

/** A daemon that runs already has another environment: what was set for this command has to be sent along. */
async function chosenSettings(): Promise<{
  text: (key: SettingKey) => string | undefined;
  number: (key: SettingKey) => number | undefined;
}> {
  // Loaded when needed: its validator is a third of the time that `create --help` would take.
  const { loadSettings } = await import("../config/settings.ts");
  const { entries } = await loadSettings({ path: statePaths().settings });
  const valueOf = (key: SettingKey): unknown =>
    entries.find((entry) => entry.key === key && entry.source !== "default")?.value;
  return {
    text: (key) => {
      const value = valueOf(key);
      return typeof value === "string" ? value : undefined;
    },
    number: (key) => {
      const value = valueOf(key);
      return typeof value === "number" ? value : undefined;
    },
  };
}
