/** Reads settings.json into dotted keys with the line each stands in. */
import { messageOf } from "../errors/index.ts";
import { locateJsonKeys } from "./json-lines.ts";
import { nearest } from "./nearest.ts";
import { SettingsInvalidError } from "./settings-error.ts";
import { isSettingKey, type SettingKey, settingKeys } from "./setting-keys.ts";

export interface FileSetting {
  value: unknown;
  line: number;
}

const groups = new Set(settingKeys.filter((key) => key.includes(".")).map((key) => key.split(".")[0]));

/** Throws `settings_invalid` for what is not JSON, not an object, or has a key that does not exist. */
export function parseSettingsFile(text: string, path: string): Map<SettingKey, FileSetting> {
  const parsed = parseJson(text, path);
  if (!isObject(parsed)) {
    throw new SettingsInvalidError(`${path}:1: the settings must be one JSON object`, {
      origin: `${path}:1`,
    });
  }
  const lines = locateJsonKeys(text);
  const found = new Map<SettingKey, FileSetting>();
  const add = (key: string, value: unknown): void => {
    const line = lines.get(key) ?? 1;
    if (!isSettingKey(key)) throw unknownKey(key, path, line);
    found.set(key, { value, line });
  };
  for (const [key, value] of Object.entries(parsed)) {
    if (key === "$schema") continue;
    if (groups.has(key)) {
      if (!isObject(value)) throw wrongGroup(key, path, lines.get(key) ?? 1);
      for (const [inner, innerValue] of Object.entries(value)) add(`${key}.${inner}`, innerValue);
    } else {
      add(key, value);
    }
  }
  return found;
}

function parseJson(text: string, path: string): unknown {
  try {
    // An empty file is what `touch` leaves behind: no settings.
    return text.trim() === "" ? {} : JSON.parse(text);
  } catch (error) {
    const message = messageOf(error);
    const position = /position (\d+)/.exec(message)?.[1];
    const before = position === undefined ? text : text.slice(0, Number(position));
    const line = before.split("\n").length;
    throw new SettingsInvalidError(`${path}:${line}: not valid JSON: ${message}`, {
      origin: `${path}:${line}`,
      cause: error,
    });
  }
}

function unknownKey(key: string, path: string, line: number): SettingsInvalidError {
  const suggestion = nearest(key, settingKeys);
  return new SettingsInvalidError(`${path}:${line}: there is no setting ${JSON.stringify(key)}`, {
    key,
    origin: `${path}:${line}`,
    hint:
      suggestion === undefined
        ? `known settings: ${settingKeys.join(", ")}`
        : `did you mean "${suggestion}"?`,
  });
}

function wrongGroup(key: string, path: string, line: number): SettingsInvalidError {
  const members = settingKeys.filter((known) => known.startsWith(`${key}.`));
  return new SettingsInvalidError(`${path}:${line}: setting ${JSON.stringify(key)} must be an object`, {
    key,
    origin: `${path}:${line}`,
    hint: `it holds ${members.join(", ")}`,
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
