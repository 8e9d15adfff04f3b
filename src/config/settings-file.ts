/** Reads settings.json into dotted keys with the line each stands in. */
import { getNodeValue, type Node, type ParseError, parseTree, printParseErrorCode } from "jsonc-parser";

import { nearest } from "./nearest.ts";
import { SettingsInvalidError } from "./settings-error.ts";
import { isSettingKey, type SettingKey, settingKeys } from "./setting-keys.ts";

export interface FileSetting {
  value: unknown;
  line: number;
}

const groups = new Set(settingKeys.filter((key) => key.includes(".")).map((key) => key.split(".")[0]));

/**
 * Comments and trailing commas are allowed. Throws `settings_invalid` for what is not JSON otherwise, not an object, or has a key that does not
 * exist.
 */
export function parseSettingsFile(text: string, path: string): Map<SettingKey, FileSetting> {
  const lineOf = ({ offset }: Pick<Node, "offset">): number => text.slice(0, offset).split("\n").length;
  const errors: ParseError[] = [];
  const tree = parseTree(text, errors, { allowTrailingComma: true });
  // An empty file is what `touch` leaves behind: no settings.
  if (text.trim() === "") return new Map();
  if (errors[0] !== undefined) throw notJson(errors[0], path, lineOf(errors[0]));
  if (tree?.type !== "object") {
    const line = tree === undefined ? 1 : lineOf(tree);
    throw new SettingsInvalidError(`${path}:${line}: the settings must be one JSON object`, {
      origin: `${path}:${line}`,
    });
  }
  const found = new Map<SettingKey, FileSetting>();
  const add = (key: string, { value, line }: Member): void => {
    if (!isSettingKey(key)) throw unknownKey(key, path, line);
    found.set(key, { value: getNodeValue(value), line });
  };
  for (const member of members(tree, lineOf)) {
    const { key, value, line } = member;
    if (key === "$schema") continue;
    if (groups.has(key)) {
      if (value.type !== "object") throw wrongGroup(key, path, line);
      for (const inner of members(value, lineOf)) add(`${key}.${inner.key}`, inner);
    } else {
      add(key, member);
    }
  }
  return found;
}

interface Member {
  key: string;
  value: Node;
  line: number;
}

function members(object: Node, lineOf: (node: Node) => number): Member[] {
  return (object.children ?? []).flatMap(({ children: [key, value] = [] }) =>
    key === undefined || value === undefined ? [] : [{ key: String(key.value), value, line: lineOf(key) }],
  );
}

function notJson({ error }: ParseError, path: string, line: number): SettingsInvalidError {
  // "CommaExpected"
  const what = printParseErrorCode(error)
    .replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ")
    .toLowerCase();
  return new SettingsInvalidError(`${path}:${line}: not valid JSON: ${what}`, { origin: `${path}:${line}` });
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
