/**
 * Writes `src/sdk/sandbox-types.ts`: what the SDK's callers say and get of sandboxes, with words on each field, made of
 * `src/sandbox/shape.ts`. TypeScript loses those words in types that it infers from a schema, and the SDK loads no schemas.
 *
 *     node --import tsx script/generate-sdk-types.ts [--check]
 */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { z } from "zod";

import {
  createShape,
  hostMemoryShape,
  momentShape,
  mountShape,
  openPortShape,
  sandboxShape,
} from "../src/sandbox/shape.ts";

const path = fileURLToPath(new URL("../src/sdk/sandbox-types.ts", import.meta.url));
const lineLength = 110;

/** `given`: what callers say, which need not be theirs to change; `got`: what they are told. */
type Way = "given" | "got";

const names = new Map<z.ZodType, string>([
  [mountShape, "Mount"],
  [openPortShape, "PublishedPort"],
  [hostMemoryShape, "HostMemory"],
  [momentShape, "Date"],
]);

const content = [
  "/** Made from `src/sandbox/shape.ts` by `script/generate-sdk-types.ts`; don't edit. */",
  "",
  comment("A host folder that the guest sees at `sandboxPath`.", ""),
  `export interface Mount ${fieldsOf(mountShape, "given")}`,
  "",
  comment("A guest port on 127.0.0.1 of the host: the same number, or another one.", ""),
  `export type PublishedPort = ${openPortShape.options.map((option) => typeOf(option, "given", "")).join(" | ")};`,
  "",
  comment(
    "What a sandbox's machine takes of the memory of the daemon's host. Clones share their template's.",
    "",
  ),
  `export interface HostMemory ${fieldsOf(hostMemoryShape, "got")}`,
  "",
  `export interface CreateSandboxOptions ${fieldsOf(createShape, "given")}`,
  "",
  comment("A sandbox as the daemon described it.", ""),
  `export interface SandboxInfo ${fieldsOf(sandboxShape, "got")}`,
  "",
  comment("The names that there are, for callers whose types nobody checks.", ""),
  "export const optionNames = {",
  ...Object.entries({ create: createShape, mount: mountShape, port: openPortShape.options[1] }).map(
    ([name, { shape }]) => `  ${name}: ${JSON.stringify(Object.keys(shape))},`,
  ),
  "} as const;",
  "",
].join("\n");

if (process.argv.includes("--check")) {
  if (plain(await readFile(path, "utf8")) !== plain(content)) {
    process.stderr.write(
      "stale: src/sdk/sandbox-types.ts; write it anew: node --import tsx script/generate-sdk-types.ts && oxfmt .\n",
    );
    process.exitCode = 1;
  }
} else {
  await writeFile(path, content);
}

/** Without what the formatter does to it. */
function plain(text: string): string {
  return text.replaceAll(/[\s,|]+/g, "");
}

function fieldsOf(schema: z.ZodObject, way: Way, indent = ""): string {
  const lines = Object.entries(schema.shape).flatMap(([field, held]) => {
    if (!(held instanceof z.ZodType)) throw new TypeError(`${field} has no schema`);
    const mayBeAbsent = held instanceof z.ZodOptional || (way === "given" && held instanceof z.ZodDefault);
    const inner = indent + "  ";
    const words = names.has(held) ? undefined : held.description;
    return [
      ...(words === undefined ? [] : [comment(words, inner)]),
      `${inner}${field}${mayBeAbsent ? "?" : ""}: ${typeOf(held, way, inner)}${mayBeAbsent ? " | undefined" : ""};`,
    ];
  });
  return ["{", ...lines, `${indent}}`].join("\n");
}

function typeOf(schema: unknown, way: Way, indent: string): string {
  if (!(schema instanceof z.ZodType)) throw new TypeError("no schema");
  const name = names.get(schema);
  if (name !== undefined) return name;
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) {
    return typeOf(schema.unwrap(), way, indent);
  }
  if (schema instanceof z.ZodNullable) return `${typeOf(schema.unwrap(), way, indent)} | null`;
  if (schema instanceof z.ZodString) return "string";
  if (schema instanceof z.ZodNumber) return "number";
  if (schema instanceof z.ZodBoolean) return "boolean";
  if (schema instanceof z.ZodEnum) return schema.options.map((option) => JSON.stringify(option)).join(" | ");
  if (schema instanceof z.ZodObject) return fieldsOf(schema, way, indent);
  const unchanged = way === "given" ? "readonly " : "";
  if (schema instanceof z.ZodArray) return `${unchanged}${typeOf(schema.element, way, indent)}[]`;
  if (schema instanceof z.ZodRecord) {
    const record = `Record<string, ${typeOf(schema.valueType, way, indent)}>`;
    return way === "given" ? `Readonly<${record}>` : record;
  }
  throw new TypeError(`no type for ${schema.type}: teach script/generate-sdk-types.ts`);
}

function comment(words: string, indent: string): string {
  const room = lineLength - indent.length;
  if (words.length + 8 <= room) return `${indent}/** ${words} */`;
  const lines = [""];
  for (const word of words.split(" ")) {
    const line = lines.at(-1) ?? "";
    if (line.length + word.length + 4 > room) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return [`${indent}/**`, ...lines.map((line) => `${indent} * ${line}`), `${indent} */`].join("\n");
}
