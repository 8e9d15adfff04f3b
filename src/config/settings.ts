/** The settings in force: a flag beats the environment, which beats `settings.json`, which beats the default. */
import { readFile } from "node:fs/promises";

import { errnoOf, messageOf } from "../errors/index.ts";
import { type FileSetting, parseSettingsFile } from "./settings-file.ts";
import {
  type SettingDefinition,
  settingDefinitions,
  type SettingKey,
  settingKeys,
  type Settings,
} from "./setting-keys.ts";
import { SettingsInvalidError } from "./settings-error.ts";

export type { SettingKey, Settings } from "./setting-keys.ts";

export type SettingSource = "flag" | "environment" | "file" | "default";

/** One setting with where its value came from: `{source: "file", origin: "/home/a/.heyo/settings.json:3"}`. */
export interface SettingEntry {
  key: SettingKey;
  value: unknown;
  source: SettingSource;
  /** `--image`, `HEYVM_IMAGE`, `<file>:<line>`; absent for a default. */
  origin: string | undefined;
  description: string;
}

export interface LoadedSettings {
  values: Settings;
  entries: readonly SettingEntry[];
}

export interface SettingsInput {
  /** Path of settings.json; a missing file is an empty one. */
  path: string;
  env?: NodeJS.ProcessEnv | undefined;
  /** Values that flags gave, by key. `undefined` means that the flag was absent. */
  flags?: Partial<Record<SettingKey, unknown>> | undefined;
}

/** Reads and checks all sources. Throws `settings_invalid` with the key, and the file and line or the variable. */
export async function loadSettings(input: SettingsInput): Promise<LoadedSettings> {
  const text = await readSettingsText(input.path);
  const fromFile =
    text === undefined ? new Map<SettingKey, FileSetting>() : parseSettingsFile(text, input.path);
  return resolveSettings(fromFile, input.env ?? process.env, input.flags ?? {}, input.path);
}

function resolveSettings(
  fromFile: ReadonlyMap<SettingKey, FileSetting>,
  env: NodeJS.ProcessEnv,
  flags: Partial<Record<SettingKey, unknown>>,
  path: string,
): LoadedSettings {
  const entries = settingKeys.map((key): SettingEntry => {
    const definition: SettingDefinition = settingDefinitions[key];
    const { description } = definition;
    const flag = flags[key];
    if (flag !== undefined) {
      const origin = `--${key.replaceAll(/[._]/g, "-")}`;
      return {
        key,
        value: check(key, definition, fromText(definition, flag), origin),
        source: "flag",
        origin,
        description,
      };
    }
    const variable = definition.env.find((candidate) => (env[candidate] ?? "") !== "");
    if (variable !== undefined) {
      const value = check(key, definition, fromText(definition, env[variable]), variable);
      return { key, value, source: "environment", origin: variable, description };
    }
    const file = fromFile.get(key);
    if (file !== undefined) {
      const origin = `${path}:${file.line}`;
      return { key, value: check(key, definition, file.value, origin), source: "file", origin, description };
    }
    return { key, value: definition.default(), source: "default", origin: undefined, description };
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one entry per key, each checked by its own schema
  const values = Object.fromEntries(entries.map(({ key, value }) => [key, value])) as unknown as Settings;
  return { values, entries };
}

function fromText(definition: SettingDefinition, value: unknown): unknown {
  return typeof value === "string" ? definition.fromText(value) : value;
}

/** Where a setting's value stands, for errors that name it: the file and line, the variable or the flag. */
export function originOf(settings: LoadedSettings, key: SettingKey): string {
  return settings.entries.find((entry) => entry.key === key)?.origin ?? key;
}

function check(key: SettingKey, definition: SettingDefinition, value: unknown, origin: string): unknown {
  const result = definition.schema.safeParse(value);
  if (result.success) return result.data;
  const reason = result.error.issues.map((issue) => issue.message).join("; ");
  throw new SettingsInvalidError(`setting ${key} (${origin}) is ${JSON.stringify(value)}: ${reason}`, {
    key,
    origin,
    hint: `${key}: ${definition.description}`,
  });
}

async function readSettingsText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw new SettingsInvalidError(`cannot read the settings in ${path}: ${messageOf(error)}`, {
      origin: path,
      cause: error,
    });
  }
}
