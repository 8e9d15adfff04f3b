/** What a machine is, as sandboxes and templates are asked for: image, type and size. */
import { Option } from "commander";

import { type SandboxType, sandboxTypes, type SizeClass, sizeClasses } from "../config/machine-kinds.ts";
import { statePaths } from "../config/paths.ts";
import type { SettingKey } from "../config/settings.ts";
import type { TemplateOptions } from "../sdk/index.ts";
import { imageOption } from "./arguments/image.ts";
import { numberOption, sizeOption } from "./arguments/quantity.ts";
import type { Invocation } from "./invocation.ts";

export interface MachineFlags {
  image?: string;
  type?: SandboxType;
  cpus?: number;
  memory?: number;
  sizeClass?: SizeClass;
}

export const machineOptions = {
  image: () =>
    imageOption("--image <image>", "name, path or URL of a cloud image; see `heyvm images supported`"),
  type: () =>
    new Option("--type <type>", "what is installed: shell (nothing more), python or node").choices(
      sandboxTypes,
    ),
  cpus: () => numberOption("--cpus <n>", "virtual CPUs", { minimum: 0, whole: false, examples: ["1", "2"] }),
  memory: () => sizeOption("--memory <size>", "memory: 512M, 2G"),
  sizeClass: () => new Option("--size-class <class>", "CPUs and memory by name").choices(sizeClasses),
} as const;

/** Settings that this command's environment or the settings file gives; what neither says, the daemon decides. */
export interface ChosenSettings {
  text(key: SettingKey): string | undefined;
  number(key: SettingKey): number | undefined;
}

/** Flags beat this shell's environment, which beats the settings file. */
export function toMachine(
  flags: MachineFlags,
  invocation: Invocation,
  chosen: ChosenSettings,
): TemplateOptions {
  const sized = flags.sizeClass !== undefined;
  return {
    type: flags.type,
    image: flags.image ?? chosen.text("image"),
    backend: invocation.backend ?? chosen.text("backend_type"),
    uri: invocation.uri ?? chosen.text("libvirt.uri"),
    cpus: flags.cpus ?? (sized ? undefined : chosen.number("cpus")),
    memoryBytes: flags.memory ?? (sized ? undefined : chosen.number("memory")),
    sizeClass: flags.sizeClass,
  };
}

/** A daemon that runs already has another environment: what was set for this command has to be sent along. */
export async function chosenSettings(): Promise<ChosenSettings> {
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
